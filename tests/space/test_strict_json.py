"""JSON that anybody may have written: what can harm later is refused here, in one place."""

import json

import pytest

from vseg_nas.space import strict_json

ODD = {
    "5000 digits": "9" * 5000,
    "5000 digits, negative": "-" + "9" * 5000,
    "in a list": f"[1, {'9' * 5000}]",
    "64 bits": str(2**63),
    "64 bits, negative": str(-(2**63)),
    "infinite": "1e999",
    "infinite, negative": "-1e999",
    "infinite, long": "9" * 400 + ".0",
    "a constant": "Infinity",
    "half a pair": r'"\ud800"',
    "the other half": r'["a", "b\uDFFFc"]',
    "as a key": r'{"\udabc": 1}',
    "NUL": r'{"a": ["\u0000"]}',
    "deep": "[" * 5000,
}


@pytest.mark.parametrize("name", ODD)
def test_refused(name: str) -> None:
    with pytest.raises(ValueError, match="JSON: ") as caught:
        strict_json.loads(ODD[name])
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize(
    "data", [2**63 - 1, -(2**63) + 1, 1.5e308, -0.0, "𝄞", "\\ud800", "\\u0000", ["\U0001f600", {"\\udfff": "é"}]]
)
def test_kept(data: object) -> None:
    assert strict_json.loads(json.dumps(data)) == data
    assert strict_json.loads(json.dumps(data, ensure_ascii=False)) == data
