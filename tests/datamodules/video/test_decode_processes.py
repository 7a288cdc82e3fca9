"""Decoding processes: many files side by side, signs of life, and every way in which one can end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from datamodules.video import decode_pool as decoding
from datamodules.video.decode_pool import DecodeWorker, Finished, Piece, ReadRequest, stream_many
from datamodules.video.video_info import BadVideoError


def write(path: Path, num_frames: int, size: int = 64) -> Path:
    """Frame n is a grey of value 20 + 5 (n mod 40); 25 a second."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        for n in range(num_frames):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 20 + 5 * (n % 40), np.uint8), format="rgb24")
            frame.pts, frame.time_base = n, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey(frames: np.ndarray) -> list[int]:
    """Which frame each picture is, by its grey."""
    return [round((float(f.mean()) - 20) / 5) for f in frames]


def worker_of(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch, timeout_s: float = 30.0) -> DecodeWorker:
    """A worker whose program is ``body`` where it would answer its first request."""
    worker = DecodeWorker(timeout_s)
    worker.module = program_of(body, folder, monkeypatch)
    return worker


def program_of(body: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The module of such a worker."""
    name = f"misbehaving_{abs(hash(body))}"
    program = f"""
        import os, signal, time
        from multiprocessing.connection import Connection
        from datamodules.video import decode_worker
        from datamodules.video.decode_worker import Alive, Done, FramesFollow
        def serve(descriptor, alive_s, memory_gib):
            connection = Connection(descriptor)
            connection.send(Done())
            connection.recv()
            {body}
    """
    (folder / f"{name}.py").write_text(textwrap.dedent(program))
    monkeypatch.syspath_prepend(str(folder))
    return name


def test_many_files_are_decoded_once_each_and_bad_ones_named(tmp_path: Path) -> None:
    good = [write(tmp_path / f"good{n}.mp4", 150 + n) for n in range(3)]
    bad = tmp_path / "bad.mp4"
    bad.write_bytes(b"x" * 100)
    requests = [ReadRequest(str(p), fps=25.0) for p in (good[0], bad, *good[1:])]
    pieces: dict[str, list[Piece]] = {}
    finished: dict[str, BadVideoError | None] = {}
    for message in stream_many(requests, num_workers=2, pieces_ahead=1):
        if isinstance(message, Finished):
            assert message.request.path not in finished
            finished[message.request.path] = message.error
        else:
            pieces.setdefault(message.request.path, []).append(message)
    assert isinstance(finished[str(bad)], BadVideoError)
    for n, path in enumerate(map(str, good)):
        assert finished[path] is None
        assert sum(len(p.frames) for p in pieces[path]) == len(pieces[path][0].frame_ids) == 150 + n
        assert pieces[path][0].info.decoder == "pyav"


def test_a_stream_can_be_left_half_way(tmp_path: Path) -> None:
    requests = [ReadRequest(str(write(tmp_path / f"{n}.mp4", 200)), fps=25.0) for n in range(3)]
    before = threading.active_count()
    stream = stream_many(requests, num_workers=2, pieces_ahead=1)
    assert isinstance(next(stream), Piece)
    stream.close()
    assert threading.active_count() <= before


def test_worker_that_hangs_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    good = write(tmp_path / "good.mp4", 2)
    worker = worker_of("time.sleep(600)", tmp_path, monkeypatch, timeout_s=1.0)
    with pytest.raises(BadVideoError, match="no sign of life for 1 s"):
        worker.read(ReadRequest(str(good)))
    worker.module, worker.timeout_s = DecodeWorker.module, 30.0
    assert worker.read(ReadRequest(str(good)))[0].num_frames == 2
    assert worker.probe(str(good)).num_frames == 2
    worker.stop()


# ---- whose fault it is ----


def test_a_script_without_a_main_guard_can_decode(tmp_path: Path) -> None:
    video = write(tmp_path / "good.mp4", 10)
    script = tmp_path / "script.py"
    script.write_text(
        "from datamodules.video.decode_pool import DecodeWorker, ReadRequest\n"
        f"print(len(DecodeWorker().read(ReadRequest({str(video)!r}, (2, 5)))[2]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(Path(decoding.__file__).parents[2])}
    run = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, timeout=60, env=environment)
    assert run.stdout.strip() == "2", run.stderr


@pytest.mark.parametrize(
    ("body", "error", "said"),
    [
        (
            "os.kill(os.getpid(), signal.SIGKILL)",
            "DecoderKilledError",
            "killed by SIGKILL while it read .*want of memory",
        ),
        ("os.kill(os.getpid(), signal.SIGSEGV)", "BadVideoError", r"the decoder crashed on it \(SIGSEGV\)"),
        ("os._exit(3)", "DecoderError", "exit code 3"),
        ("connection._send(b'\\0\\0\\1\\0half'); os._exit(1)", "DecoderError", "exit code 1"),
    ],
)
def test_a_process_that_dies_says_of_what(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, error: str, said: str
) -> None:
    worker = worker_of(body, tmp_path, monkeypatch)
    with pytest.raises((BadVideoError, decoding.DecoderError), match=said) as caught:
        worker.read(ReadRequest(str(write(tmp_path / "good.mp4", 2))))
    assert type(caught.value).__name__ == error


def test_a_process_that_is_killed_is_replaced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two messages, in the middle of one, and before the first: no frame is lost or comes twice."""
    path, marker = str(write(tmp_path / "good.mp4", 150)), tmp_path / "killed"
    body = "".join(
        f"{line}\n            "
        for line in (
            "open(os.environ['KILLED'], 'a').write('x')",
            "num_sent, send = [0], connection._send",
            "def until_killed(data):",
            "    num_sent[0] += len(data)",
            "    if num_sent[0] > int(os.environ['KILL_AT']) and len(open(os.environ['KILLED']).read()) == 1:",
            "        send(data[:len(data) // 2])",
            "        os.kill(os.getpid(), signal.SIGKILL)",
            "    send(data)",
            "connection._send = until_killed",
            "decode_worker._answer(connection, ReadRequest(os.environ['GOOD'], None, 25.0), alive_s)",
        )
    ).replace("ReadRequest(", "decode_worker.ReadRequest(")
    monkeypatch.setenv("GOOD", path)
    monkeypatch.setenv("KILLED", str(marker))
    for kill_at in (0, 3000, 500_000, 1_000_000):
        marker.unlink(missing_ok=True)
        monkeypatch.setenv("KILL_AT", str(kill_at))
        worker = worker_of(body, tmp_path, monkeypatch)
        _, frame_ids, frames = worker.read(ReadRequest(path, None, 25.0))
        worker.stop()
        assert marker.read_text() == "xx"
        assert grey(frames) == [n % 40 for n in frame_ids] == [n % 40 for n in range(150)]


@pytest.mark.slow
def test_whenever_a_decoder_is_killed_each_file_comes_whole(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{n}.mp4", 300)) for n in range(6)]
    rng = np.random.default_rng(0)
    for _ in range(3):
        stream = stream_many([ReadRequest(p, None, 25.0) for p in paths], 2)
        killer = threading.Thread(target=_kill_a_decoder, args=(float(rng.uniform(0.05, 1.0)),))
        killer.start()
        frames: dict[str, list[int]] = {p: [] for p in paths}
        for message in stream:
            if isinstance(message, Piece):
                frames[message.request.path] += grey(message.frames)
            else:
                assert message.error is None
        killer.join(20.0)
        assert all(numbers == [n % 40 for n in range(300)] for numbers in frames.values())


def _kill_a_decoder(wait_s: float) -> None:
    """The first decoding process that this one started, after some time."""
    time.sleep(wait_s)
    tasks = Path(f"/proc/{os.getpid()}/task").iterdir()
    for child in [int(c) for task in tasks for c in (task / "children").read_text().split()]:
        with contextlib.suppress(OSError):
            if b"decode_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
                return


def test_a_process_that_cannot_start_is_not_the_files_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "not_startable.py").write_text("raise ImportError('libGL.so.1')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(DecodeWorker, "module", "not_startable")
    request = ReadRequest(str(write(tmp_path / "good.mp4", 2)))
    with pytest.raises(decoding.DecoderError, match="could not start"):
        DecodeWorker().read(request)
    with pytest.raises(decoding.DecoderError, match="could not start"):
        list(stream_many([request], 1))


def test_absurd_values_are_the_files_fault_and_mistakes_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = write(tmp_path / "good.mp4", 10)
    worker = DecodeWorker()
    with pytest.raises(BadVideoError, match="frame 50 was asked for, and it has 10"):
        worker.read(ReadRequest(str(good), (2, 50)))
    with pytest.raises(decoding.DecoderError, match="TypeError"):
        worker.read(ReadRequest(str(good), (2,), short_side_px="wide"))  # type: ignore[arg-type]
    assert grey(worker.read(ReadRequest(str(good), (2, 5)))[2]) == [2, 5]
    worker.stop()


def test_a_file_may_not_take_all_memory(tmp_path: Path) -> None:
    """A picture of 8 000 x 8 000 is 192 MB; the process goes on with the next file."""
    large = tmp_path / "large.avi"
    with av.open(str(large), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 8000, 8000, "yuvj420p"
        container.mux(stream.encode(av.VideoFrame(8000, 8000, "yuvj420p")))
        container.mux(stream.encode(None))
    worker = DecodeWorker(memory_gib=0.3)
    worker.start()
    process = worker._process
    with pytest.raises(BadVideoError, match=r"memory"):
        worker.read(ReadRequest(str(large)))
    assert grey(worker.read(ReadRequest(str(write(tmp_path / "small.mp4", 6)), (5,)))[2]) == [5]
    assert worker._process is process
    worker.stop()


# ---- nothing waits for ever ----


@pytest.mark.parametrize("body", ["connection.send_bytes(b'not a message')", "os._exit(1)", "time.sleep(600)"])
def test_nobody_waits_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    """Whatever a process does, the stream ends and every future is answered."""
    requests = [ReadRequest(str(write(tmp_path / f"{n}.mp4", 2))) for n in range(3)]
    monkeypatch.setattr(DecodeWorker, "module", program_of(body, tmp_path, monkeypatch))
    ended = threading.Event()

    def consume() -> None:
        with contextlib.suppress(Exception):
            list(stream_many(requests, 2, timeout_s=1.0))
        ended.set()

    threading.Thread(target=consume, daemon=True).start()
    assert ended.wait(30.0)
    pool = decoding.DecodePool(2, timeout_s=1.0)
    for future in [pool.submit(r) for r in requests]:
        assert future.exception(timeout=30.0) is not None
    pool.stop()


def test_an_error_of_another_kind_ends_the_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder killed in the middle of a message raises OSError where it is read."""
    requests = [ReadRequest(str(write(tmp_path / f"{n}.mp4", 2))) for n in range(3)]

    def broken(self, *_: object) -> object:
        raise OSError("got end of file during message")

    for name in ("_next_message", "next_message"):
        monkeypatch.setattr(DecodeWorker, name, broken, raising=False)
    caught: list[BaseException] = []

    def consume() -> None:
        try:
            list(stream_many(requests, 2))
        except OSError as error:
            caught.append(error)

    thread = threading.Thread(target=consume, daemon=True)
    thread.start()
    thread.join(20.0)
    assert not thread.is_alive(), "the consumer waits for ever"
    assert caught


def test_slow_is_not_silent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half a minute's work to the next wanted frame is no reason to give up, if it goes on."""
    body = "".join(
        f"{line}\n            "
        for line in (
            "from datamodules.video import pyav_decoding as frame_decoding, video_info as video",
            "decode = frame_decoding.decode_frames",
            "def slowly(info, table, frame_ids, alive):",
            "    return decode(info, table, frame_ids, lambda: (time.sleep(0.1), alive()))",
            "frame_decoding.decode_frames = slowly",
            "connection.send(Alive())",
            "decode_worker._answer(connection, decode_worker.ReadRequest(os.environ['SLOW_VIDEO'], (39,)), alive_s)",
        )
    )
    monkeypatch.setenv("SLOW_VIDEO", str(write(tmp_path / "slow.mp4", 40)))
    worker = worker_of(body, tmp_path, monkeypatch, timeout_s=2.5)
    start = time.monotonic()
    assert grey(worker.read(ReadRequest(os.environ["SLOW_VIDEO"], (39,)))[2]) == [39]
    assert time.monotonic() - start > worker.timeout_s
    worker.stop()


@pytest.mark.slow
def test_av1_far_into_a_long_group_of_pictures_is_not_bad(real_clips: Path, tmp_path: Path) -> None:
    """The only wanted frame is the last; getting there takes several times as long as the time-out."""
    path = tmp_path / "long.ivf"
    with av.open(str(real_clips / "av1_video.mkv")) as source, av.open(str(path), "w") as target:
        packets = [p for p in source.demux(source.streams.video[0]) if p.size]
        stream = target.add_mux_stream("av1", rate=25, width=640, height=360)
        for n in range(24 * len(packets)):
            packet = av.Packet(bytes(packets[n % len(packets)]))
            packet.pts = packet.dts = n
            packet.time_base, packet.is_keyframe, packet.stream = Fraction(1, 25), n == 0, stream
            target.mux(packet)
    start = time.perf_counter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        num_frames = sum(1 for _ in container.decode(stream))
    taken_s = time.perf_counter() - start
    worker = DecodeWorker(timeout_s=60.0)
    assert worker.probe(str(path)).num_frames
    worker.stop()
    worker.timeout_s = max(1.0, taken_s / 4)
    assert len(worker.read(ReadRequest(str(path), (num_frames - 1,)))[2]) == 1
    worker.stop()


# ---- a pool ----


def test_a_pool_reads_several_files_at_once_and_with_a_known_table(tmp_path: Path) -> None:
    paths = [str(write(tmp_path / f"{n}.mp4", 60 + n)) for n in range(4)]
    pool = decoding.DecodePool(2)
    infos = [pool.probe(p) for p in paths]
    assert [i.num_frames for i in infos] == [60, 61, 62, 63]
    chosen = [(n, 20 + n, 59) for n in range(4)]
    futures = [pool.submit(ReadRequest(p, c, info=i)) for p, c, i in zip(paths, chosen, infos, strict=True)]
    for future, path, frame_ids in zip(futures, paths, chosen, strict=True):
        info, ids, frames = future.result()
        assert (info.path, tuple(ids)) == (path, frame_ids)
        assert grey(frames) == [n % 40 for n in frame_ids]
    assert isinstance(pool.submit(ReadRequest("/nowhere.mp4")).exception(), BadVideoError)
    pool.stop()
    assert pool.probe(paths[0]).num_frames == 60  # may be used again
    pool.stop()


def test_with_a_known_table_the_packets_are_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = str(write(tmp_path / "a.mp4", 30))
    worker = DecodeWorker()
    info = worker.probe(path)
    worker.stop()
    body = "decode_worker.probe = None; decode_worker.serve(os.dup(descriptor), alive_s, memory_gib)"
    unable = worker_of(body, tmp_path, monkeypatch)
    unable.module = program_of(body, tmp_path, monkeypatch)
    source = (tmp_path / f"{unable.module}.py").read_text()
    source = source.replace("    connection.send(Done())\n    connection.recv()\n", "")
    (tmp_path / f"{unable.module}.py").write_text(source)
    with pytest.raises(decoding.DecoderError, match="NoneType"):
        unable.read(ReadRequest(path, (3,)))
    assert grey(unable.read(ReadRequest(path, (3,), info=info))[2]) == [3]
    unable.stop()


def test_stopping_a_pool_answers_every_future(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    request = ReadRequest(str(write(tmp_path / "a.mp4", 2)))
    monkeypatch.setattr(DecodeWorker, "module", program_of("time.sleep(600)", tmp_path, monkeypatch))
    pool = decoding.DecodePool(2)
    futures = [pool.submit(request) for _ in range(5)]
    time.sleep(1.0)
    pool.stop()
    assert all(f.done() for f in futures)
    assert not pool._workers


def test_processes_end_with_whoever_asked(tmp_path: Path) -> None:
    """Also when it is killed while a file holds its decoder up."""
    hanging = tmp_path / "hanging_forever.py"
    hanging.write_text(
        "import os, threading, time\nfrom datamodules.video.decode_worker import Done, _end_with\n"
        "from multiprocessing.connection import Connection\n"
        "def serve(descriptor, *_):\n"
        "    threading.Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()\n"
        "    connection = Connection(descriptor)\n    connection.send(Done())\n    time.sleep(600)\n"
    )
    program = (
        "import sys, time\nfrom datamodules.video.decode_process import DecodeWorker\n"
        "worker = DecodeWorker()\nworker.module = 'hanging_forever'\nworker.start()\n"
        "worker._connection.poll(60)\nprint(worker._process.pid, flush=True)\ntime.sleep(600)\n"
    )
    path = os.pathsep.join([str(tmp_path), str(Path(decoding.__file__).parents[2])])
    asking = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": path}
    )
    assert asking.stdout is not None
    pid = int(asking.stdout.readline())
    asking.kill()
    asking.wait()
    asking.stdout.close()
    for _ in range(100):
        if not _runs(pid):
            return
        time.sleep(0.1)
    os.kill(pid, signal.SIGKILL)
    raise AssertionError("the decoding process outlived whoever asked")


def _runs(pid: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{pid}/stat").read_text().split(")")[1].split()[0]
    except OSError:
        return False
