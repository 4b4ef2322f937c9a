// modbus-serial on either side.  `server PORT`: a gas monitor as unit 1 that says READY.  `client PORT FIRST COUNT`:
// reads holding registers of unit 1 and prints them as JSON; then tries to write one and prints what it is told.
const Modbus = require("modbus-serial");

const [role, port] = [process.argv[2], Number(process.argv[3])];
const GASES = [44.0, 5.0, 22.0, 11.0, 110.0, 1500.0, 225.0, 33.0, 9.5, 41.3]; // from address 20; 225 is the total

function words() {
  const bytes = Buffer.alloc(4 * GASES.length);
  GASES.forEach((value, index) => bytes.writeFloatBE(value, 4 * index));
  const found = [];
  for (let at = 0; at < bytes.length; at += 4) {
    found.push(bytes.readUInt16BE(at + 2), bytes.readUInt16BE(at)); // the least significant word comes first
  }
  return found;
}

async function main() {
  if (role === "server") {
    const registers = words();
    const server = new Modbus.ServerTCP(
      { getHoldingRegister: (address) => registers[address - 20] },
      { host: "127.0.0.1", port, unitID: 1 },
    );
    server.on("initialized", () => console.log("READY"));
    process.stdin.on("end", () => process.exit(0)).resume();
    return;
  }
  const client = new Modbus();
  await client.connectTCP("127.0.0.1", { port });
  client.setID(1);
  client.setTimeout(5000);
  console.log(JSON.stringify((await client.readHoldingRegisters(Number(process.argv[4]), Number(process.argv[5]))).data));
  try {
    await client.writeRegister(Number(process.argv[4]), 1);
    console.log("written");
  } catch (err) {
    console.log(`refused: exception ${err.modbusCode}`);
  }
  client.close();
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
