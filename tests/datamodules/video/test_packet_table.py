"""Which packets a frame needs, by hand; and what happens where a file does not do what its table says."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.video import pyav_decoding as frame_decoding
from datamodules.video.packet_table import PacketTable
from datamodules.video.picture_headers import header_reader
from datamodules.video.pyav_decoding import Stretch, plan
from datamodules.video.video_info import BadVideoError, VideoInfo, open_frames, probe, read_frames

# as stored: I0 P3 b1 b2 | I6 (open: b4 and b5 are shown before it) b4 b5 P9 b7 b8 | I10 P11
_STORED_PTS = [0, 3, 1, 2, 6, 4, 5, 9, 7, 8, 10, 11]
_STORED_KEYS = [0, 6, 10]


def table_by_hand() -> PacketTable:
    pts = np.sort(_STORED_PTS)
    rank = np.argsort(_STORED_PTS)
    return PacketTable(
        container="matroska,webm",
        codec="h264",
        pts=pts,
        seconds=pts / 25,
        key=np.isin(pts, _STORED_KEYS),
        decode_rank=rank,
        decodes_from=np.array([0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 10, 10]),
        non_reference=np.isin(pts, [1, 2, 4, 5, 7, 8]),
        dts=rank - 1,
    )


def test_pictures_shown_before_their_key_frame_need_the_one_before() -> None:
    from datamodules.video.packet_table import _decodes_from

    table = table_by_hand()
    assert _decodes_from(table.pts, table.key, table.decode_rank).tolist() == table.decodes_from.tolist()


@pytest.mark.parametrize(
    ("frame_ids", "stretches"),
    [
        ([0, 6, 10], [(0, 0), (4, 4), (10, 10)]),  # key frames alone
        ([11], [(10, 11)]),
        ([5], [(0, 6)]),  # through the key frame it is stored behind
        ([5, 8], [(0, 9)]),  # joined, not decoded twice
        ([2, 3, 6], [(0, 4)]),
        (list(range(12)), [(0, 11)]),
    ],
)
def test_only_what_is_needed_is_planned(frame_ids: list[int], stretches: list[tuple[int, int]]) -> None:
    assert plan(table_by_hand(), np.array(frame_ids)) == [Stretch(*s) for s in stretches]
    assert plan(table_by_hand().sequential(), np.array(frame_ids))[0].first == 0


def test_a_table_can_be_sent() -> None:
    again = pickle.loads(pickle.dumps(table_by_hand()))
    for field in dataclasses.fields(PacketTable):
        np.testing.assert_array_equal(getattr(again, field.name), getattr(table_by_hand(), field.name))


# H.264 in its shortest: baseline, frame_num of 4 bits; a slice begins 1 (first_mb), 1 (type), 1 (set), nnnn (frame_num)
_SETS = b"\0\0\1\x67\x42\0\x1e\xc0\0\0\1\x68\xc0"
_AVCC = b"\x01\x42\0\x1e\xff\xe1\0\x05\x67\x42\0\x1e\xc0\x01\0\x02\x68\xc0"


@pytest.mark.parametrize(
    ("codec", "extradata", "packet", "starts", "disposable"),
    [
        ("h264", None, b"\0\0\0\1\x09\x10" + _SETS + b"\0\0\0\1\x65\xe0", True, None),  # delimiter, IDR slice
        ("h264", _SETS, b"\0\0\0\1\x41\xe2", False, None),  # P, nal_ref_idc 2
        ("h264", _SETS, b"\0\0\0\1\x01\xe2", False, 0),  # nal_ref_idc 0
        ("h264", _SETS, b"\0\0\1\x06\x06\x01\xc4\x80\0\0\1\x41\xe2", True, None),  # recovery point 0
        ("h264", _SETS, b"\0\0\1\x06\x06\x01\x42\x80\0\0\1\x41\xe2", False, None),  # recovery after some frames
        ("h264", _AVCC, b"\0\0\0\2\x65\xe0", True, None),  # behind a length
        ("hevc", None, b"\0\0\1\x26\x01\xaf", True, None),  # IDR_W_RADL
        ("hevc", None, b"\0\0\1\x2a\x01\xaf", True, None),  # CRA
        ("hevc", None, b"\0\0\1\x00\x01\xaf", False, 0),  # TRAIL_N
        ("hevc", None, b"\0\0\1\x00\x02\xaf", False, 1),  # TRAIL_N of temporal layer 1
        ("mpeg2video", None, b"\0\0\1\0\x00\x0f\xff\xf8", True, None),  # I
        ("mpeg2video", None, b"\0\0\1\0\x00\x1f\xff\xf8", False, 0),  # B
        ("vp9", None, b"\x82\x49\x83\x42", True, None),
        ("vp9", None, b"\x86\x00\x40", False, None),
    ],
)
def test_pictures_say_what_they_are(
    codec: str, extradata: bytes | None, packet: bytes, starts: bool, disposable: int | None
) -> None:
    picture = header_reader(codec, extradata)(memoryview(packet))
    assert picture.known
    assert (picture.starts, picture.disposable_at) == (starts, disposable)


@pytest.mark.parametrize(
    ("numbers", "follows"),
    [
        ([0, 1, 2, 3], [True] * 4),
        ([0, 1, 3, 4], [True, True, False, True]),  # one is missing
        ([0, 1, 1, 2], [True, True, False, True]),  # one came twice
        ([0, 2, 1, 3], [True, False, False, False]),  # two changed places
        ([14, 15, 0, 1], [True] * 4),
    ],
)
def test_h264_pictures_follow_one_another_by_their_numbers(numbers: list[int], follows: list[bool]) -> None:
    read = header_reader("h264", _SETS)
    slices = [b"\0\0\1\x41" + bytes([0xE0 | n << 1 & 0x1E]) for n in numbers]
    assert [read(memoryview(s)).known for s in slices] == follows


@pytest.mark.parametrize("codec", ["h264", "hevc", "mpeg2video", "mpeg4", "vp8", "vp9", "av1"])
def test_no_bytes_break_the_reading_of_a_header(codec: str) -> None:
    rng = np.random.default_rng(0)
    for _ in range(300):
        extradata = [None, b"\x01" + rng.bytes(30)][int(rng.integers(2))]
        start = [b"", b"\0\0\1", b"\0\0\1\0", b"\0\0\1\xb6", b"\0\0\1\x06"][int(rng.integers(5))]
        header_reader(codec, extradata)(memoryview(start + rng.bytes(int(rng.integers(0, 12)))))


# ---- files ----


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 greys at 25 a second, a key frame every 25, with B-frames."""
    path = tmp_path_factory.mktemp("table") / "gop.mp4"
    with av.open(str(path), "w") as container:
        options = {"crf": "1", "g": "25", "keyint_min": "25", "sc_threshold": "0"}
        stream = container.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for n in range(200):
            frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), 20 + 5 * (n % 40), np.uint8), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def greys(info: VideoInfo, frame_ids: list[int]) -> list[int]:
    frames = np.concatenate(list(read_frames(info, np.array(frame_ids))))
    return [round((float(f.mean()) - 20) / 5) for f in frames]


def test_few_frames_cost_few_packets(video: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fed, real = [0], frame_decoding._Packets.of

    def counted(self, stretch: Stretch, left_out: np.ndarray) -> Iterator[av.Packet]:
        for packet in real(self, stretch, left_out):
            fed[0] += 1
            yield packet

    monkeypatch.setattr(frame_decoding._Packets, "of", counted)
    info = probe(str(video))
    assert info.table.key.sum() == 8
    for frame_ids, most in (([0, 25, 50, 75, 100, 125, 150, 175], 8), ([180], 8), ([3, 199], 35)):
        fed[0] = 0
        assert greys(info, frame_ids) == [n % 40 for n in frame_ids]
        assert fed[0] <= most, frame_ids
    fed[0] = 0
    assert greys(info, [24, 199]) == [24, 39]
    assert fed[0] < 50 - 10  # pictures that no other refers to are left out


@pytest.mark.parametrize("lie", ["a key frame that is none", "a wrong order", "a frame that is none"])
def test_a_file_that_belies_its_table_is_read_in_sequence(
    video: Path, lie: str, caplog: pytest.LogCaptureFixture
) -> None:
    info = probe(str(video))
    table = info.table
    match lie:
        case "a key frame that is none":
            wrong = dataclasses.replace(
                table, decodes_from=np.where(table.decodes_from == 100, 103, table.decodes_from)
            )
        case "a wrong order":
            rank = table.decode_rank.copy()
            rank[[101, 110]] = rank[[110, 101]]
            wrong = dataclasses.replace(table, decode_rank=rank)
        case _:
            wrong = dataclasses.replace(table, non_reference=np.ones_like(table.non_reference))
    frame_ids = [2, 112, 190]
    assert greys(dataclasses.replace(info, table=wrong), frame_ids) == [n % 40 for n in frame_ids]
    assert "decoded in sequence" in caplog.text


def test_another_file_in_its_place_is_not_read_by_its_table(video: Path, tmp_path: Path) -> None:
    info = probe(str(video))
    other = tmp_path / "other.mp4"
    other.write_bytes(video.read_bytes() + b"\0" * 100)
    with pytest.raises(BadVideoError, match="when it was probed"):
        open_frames(dataclasses.replace(info, path=str(other)), np.array([0]))


def test_torchcodec_gives_the_same_frames(video: Path) -> None:
    pytest.importorskip("torchcodec.decoders", exc_type=Exception)
    info, frame_ids = probe(str(video)), np.array([0, 7, 24, 99, 180])
    name, pieces = open_frames(info, frame_ids, decoder="torchcodec")
    assert name == "torchcodec"
    ours = np.concatenate(list(read_frames(info, frame_ids)))
    np.testing.assert_array_equal(np.concatenate(list(pieces)), ours)
