"""The published schemas are those of the code, and the files beside the documentation are current."""

import json
from pathlib import Path

import jsonschema
import pytest

from gateway.publisher import status_message
from gateway.schemas import schemas, write_schemas

FOLDER = Path(__file__).parents[2] / "docs" / "schema"


@pytest.mark.parametrize("name", sorted(schemas()))
def test_the_file_is_current(name: str) -> None:
    again = "run `blackstart schemas docs/schema`"
    assert (FOLDER / name).is_file(), again
    assert json.loads((FOLDER / name).read_text()) == schemas()[name], again


def test_nothing_else_lies_there(tmp_path: Path) -> None:
    write_schemas(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(path.name for path in FOLDER.iterdir())


@pytest.mark.parametrize("schema", schemas().values(), ids=sorted(schemas()))
def test_each_is_a_schema_and_names_its_topic(schema: dict[str, object]) -> None:
    jsonschema.Draft202012Validator.check_schema(schema)
    assert "blackstart/<gateway>/" in str(schema["$comment"])
    assert schema["additionalProperties"] is False


@pytest.mark.parametrize("online", [True, False])
def test_a_status_fits_its_schema(online: bool) -> None:
    content = json.loads(status_message("g1", online=online).payload)
    jsonschema.validate(content, schemas()["blackstart.status-1.json"])
    assert content["online"] is online
    assert content["schema"] == "blackstart.status/1"


def test_a_verdict_fits_its_schema() -> None:
    verdict = {
        "outcome": "confirmed",
        "final_code": "D2",
        "basis": "internal_inspection",
        "observed_at": "2026-03-01T00:00:00Z",
        "by": "inspector",
    }
    schema = schemas()["blackstart.verdict-1.json"]
    jsonschema.validate({"run_id": "r1-0", "verdict": verdict}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"run_id": "r1-0", "verdict": verdict | {"final_code": "D9"}}, schema)
