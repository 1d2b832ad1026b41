"""What the scripts share: running a list of checks and saying how many passed."""

import json
import sys
import urllib.request

QUESTION = [{"role": "user", "content": "What is the weather in Ulm?"}]

PARAMETERS = {
    "type": "object",
    "properties": {
        "city": {"type": "string", "maxLength": 12},
        "days": {"type": "integer", "minimum": 1, "maximum": 9},
    },
    "required": ["city", "days"],
    "additionalProperties": False,
}

SCHEMA = {
    "type": "object",
    "properties": {
        "mood": {"enum": ["good", "bad"]},
        "points": {"type": "array", "items": {"type": "integer"}, "maxItems": 3},
    },
    "required": ["mood", "points"],
    "additionalProperties": False,
}


def served_model(url):
    with urllib.request.urlopen(url + "/v1/models") as answer:
        return json.load(answer)["data"][0]["id"]


def check_arguments(arguments):
    assert set(arguments) == {"city", "days"}, arguments
    assert len(arguments["city"]) <= 12 and 1 <= arguments["days"] <= 9, arguments


def check_schema(text):
    value = json.loads(text)
    assert set(value) == {"mood", "points"} and value["mood"] in ("good", "bad"), value
    assert len(value["points"]) <= 3 and all(isinstance(p, int) for p in value["points"]), value


def run(checks):
    url = sys.argv[1].rstrip("/")
    model = served_model(url)
    for check in checks:
        try:
            check(url, model)
        except Exception:
            print(f"in {check.__name__}:")
            raise
    print(f"{len(checks)} checks")
