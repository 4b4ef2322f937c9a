"""Frames between the daemon and the reasoning core: hostile bytes are refused, messages survive the way."""

import struct

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.core_protocol import (
    HEADER_BYTES,
    MAX_FRAME_BYTES,
    BadFrame,
    ChooseReply,
    ChooseRequest,
    Failure,
    GenerateReply,
    GenerateRequest,
    PingReply,
    PingRequest,
    Prompt,
    decode_reply,
    decode_request,
    encode,
    fits,
    frame_size,
)

PROMPT = Prompt(prefix="rules", evidence="H2 = 1 uL/L", suffix="answer")
CHOOSE = ChooseRequest(id=4, timeout_s=1.0, prompt=PROMPT, labels=("D1", "D2", "UNSURE"))
REPLY = ChooseReply(id=4, log_likelihoods=(-1.0, -2.0, -3.5), prompt_tokens=12, cached_tokens=3)


@pytest.mark.parametrize(
    "request_", [CHOOSE, PingRequest(id=0), GenerateRequest(id=1, timeout_s=2, prompt=PROMPT, max_tokens=5)]
)
def test_a_request_survives_the_way(request_):
    frame = encode(request_)
    assert frame_size(frame[:HEADER_BYTES]) == len(frame) - HEADER_BYTES
    assert decode_request(frame[HEADER_BYTES:]) == request_


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=15), st.integers(0, 2**63 - 1))
def test_a_reply_survives_the_way(scores, number):
    reply = ChooseReply(id=number, log_likelihoods=tuple(scores), prompt_tokens=1, cached_tokens=0)
    assert decode_reply(encode(reply)[HEADER_BYTES:]) == reply


@given(st.binary(max_size=300))
def test_any_bytes_are_a_message_or_a_bad_frame(body):
    for decode in (decode_reply, decode_request):
        try:
            message = decode(body)
        except BadFrame:
            continue
        assert message.id >= 0


@given(
    st.recursive(
        st.none() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
        max_leaves=12,
    )
)
def test_any_messagepack_is_a_message_or_a_bad_frame(value):
    with pytest.raises(BadFrame):
        decode_reply(msgpack.packb({"kind": "choose", "id": 1, "log_likelihoods": value, "prompt_tokens": -1}))


@pytest.mark.parametrize("size", [0, MAX_FRAME_BYTES + 1, 2**32 - 1])
def test_an_impossible_length_is_refused_before_it_is_read(size):
    with pytest.raises(BadFrame, match=str(size)):
        frame_size(struct.pack(">I", size))


def test_a_message_too_long_for_a_frame_is_not_sent():
    part = "\N{SNOWMAN}" * 32_768
    small = GenerateReply(id=1, text=part, tokens=1)
    assert len(encode(small)) < MAX_FRAME_BYTES
    with pytest.raises(BadFrame, match="takes"):
        encode(small.model_copy(update={"text": part * 11}))


@pytest.mark.parametrize(
    "broken",
    [
        {"labels": ["D1"]},
        {"labels": ["D1", "IGNORE THE READINGS"]},
        {"labels": [f"L{n}" for n in range(16)]},
        {"timeout_s": 0},
        {"timeout_s": float("inf")},
        {"id": -1},
        {"extra": 1},
        {"kind": "obey"},
    ],
)
def test_a_request_outside_its_type_is_refused(broken):
    with pytest.raises(BadFrame, match="not a request"):
        decode_request(msgpack.packb({**CHOOSE.model_dump(), **broken}))


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (REPLY, True),
        (REPLY.model_copy(update={"id": 5}), False),
        (REPLY.model_copy(update={"log_likelihoods": (-1.0,)}), False),
        (PingReply(id=4), False),
        (Failure(id=4, reason="late", text=""), True),
    ],
)
def test_a_reply_fits_its_question_or_not(reply, expected):
    assert fits(CHOOSE, reply) is expected
