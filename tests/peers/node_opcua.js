// A node-opcua server for the tests: Basic256Sha256 alone, two users, 25 variables, at most 10 nodes in one read.
// Usage: node node_opcua.js PORT FOLDER; FOLDER holds server.pem and server.key.pem.  Says READY when it listens.
const path = require("path");
const { OPCUAServer } = require("node-opcua-server");
const { OPCUACertificateManager } = require("node-opcua-certificate-manager");
const { MessageSecurityMode, SecurityPolicy } = require("node-opcua-secure-channel");
const { Variant, DataType } = require("node-opcua-variant");

const [port, folder, limit] = [Number(process.argv[2]), process.argv[3], Number(process.argv[4])];

async function main() {
  const certificates = new OPCUACertificateManager({
    automaticallyAcceptUnknownCertificate: true,
    rootFolder: path.join(folder, "pki"),
  });
  const server = new OPCUAServer({
    port,
    hostname: "127.0.0.1",
    allowAnonymous: true,
    certificateFile: path.join(folder, "server.pem"),
    privateKeyFile: path.join(folder, "server.key.pem"),
    serverCertificateManager: certificates,
    userCertificateManager: certificates,
    serverInfo: { applicationUri: "urn:test:server" },
    securityPolicies: [SecurityPolicy.Basic256Sha256],
    securityModes: [MessageSecurityMode.SignAndEncrypt],
    disableDiscovery: true,
    serverCapabilities: { operationLimits: { maxNodesPerRead: limit } },
  });
  await server.initialize();
  const space = server.engine.addressSpace;
  const ours = space.registerNamespace("urn:test:substation");
  for (let number = 0; number < 25; number++) {
    ours.addVariable({
      organizedBy: space.rootFolder.objects,
      browseName: `V${number}`,
      nodeId: `s=V${number}`,
      dataType: "Double",
      minimumSamplingInterval: 100,
      value: { get: () => new Variant({ dataType: DataType.Double, value: number / 2 }) },
    });
  }
  await server.start();
  console.log("READY");
}

main().catch((err) => {
  console.error(err);
  process.exit(1);
});
process.stdin.on("end", () => process.exit(0)).resume();
