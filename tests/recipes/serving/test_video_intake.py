"""Videos come from below one folder, from the request, or from hosts that were named, and from nowhere else."""

from __future__ import annotations

import base64
import io
import os
import socket
from pathlib import Path
from typing import Any

import anyio
import httpx2
import numpy as np
import pytest
from PIL import Image
from serving_requests import OPTIONS, request_of
from starlette.testclient import TestClient

from datamodules.video.video_info import probe
from recipes.serving.chat_request import VideoReference
from recipes.serving.listed_pictures import times_of, write_pictures
from recipes.serving.remote_videos import RemoteVideos
from recipes.serving.request_errors import RequestError
from recipes.serving.server import Server
from recipes.serving.serving_settings import ServingLimits
from recipes.serving.upload_shelf import UploadShelf
from recipes.serving.video_intake import VideoIntake
from recipes.serving.video_root import VideoRoot

CHAT = "/v1/chat/completions"


def status(client: TestClient, url: str, **more: Any) -> int:
    body = request_of(url, kairos={"options": OPTIONS, "num_frames": 2}, **more)
    return client.post(CHAT, json=body).status_code


@pytest.mark.parametrize(
    "name",
    [
        "../outside.mp4",
        "inner/../../outside.mp4",
        "inner/../a.mp4",
        "..",
        "/etc/passwd",
        "file:///etc/passwd",
        "file://localhost/etc/passwd",
        "FILE:///etc/passwd",
        "~/a.mp4",
        "\\\\host\\share",
        "a.mp4\0.txt",
        "a" * 5000,
        ".",
        "./",
    ],
)
def test_a_name_leads_nowhere_else(client: TestClient, name: str) -> None:
    reply = client.post(CHAT, json=request_of(name))
    assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_path"), reply.text


def test_an_absolute_path_of_a_video_of_the_folder_is_refused_too(client: TestClient, video_root: Path) -> None:
    assert status(client, str(video_root / "a.mp4")) == 400


def test_links_are_not_followed(client: TestClient, video_root: Path) -> None:
    for name, target in (("link.mp4", "../outside.mp4"), ("inside.mp4", "a.mp4"), ("dir", "..")):
        (video_root / name).symlink_to(target)
    for name in ("link.mp4", "inside.mp4", "dir/outside.mp4"):
        reply = client.post(CHAT, json=request_of(name))
        assert (reply.status_code, reply.json()["error"]["code"]) == (400, "invalid_path"), reply.text
        assert "links are not followed" in reply.json()["error"]["message"]


def test_what_is_no_file_is_not_opened(client: TestClient, video_root: Path) -> None:
    os.mkfifo(video_root / "pipe.mp4")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(video_root / "socket.mp4"))
    names = ["pipe.mp4", "socket.mp4", "inner"]
    if os.geteuid() == 0:
        try:
            os.mknod(video_root / "device.mp4", 0o600 | 0o020000, os.makedev(1, 5))  # /dev/zero
            names.append("device.mp4")
        except OSError:
            pass
    for name in names:
        reply = client.post(CHAT, json=request_of(name))
        assert reply.status_code == 400, (name, reply.text)
        assert "cannot be read" in reply.json()["error"]["message"]


def test_a_missing_video_is_not_found_and_an_odd_name_is(client: TestClient, video_root: Path) -> None:
    assert status(client, "nothing.mp4") == 404
    assert status(client, "inner/nothing.mp4") == 404
    assert status(client, "a.mp4/b.mp4") == 404
    odd = video_root / "a: b'\"%41\u00e9.mp4"
    odd.write_bytes((video_root / "a.mp4").read_bytes())
    assert status(client, odd.name) == 200
    assert status(client, "./inner//b.mp4") == 200


def test_without_a_folder_no_name_is_read() -> None:
    with pytest.raises(RequestError, match="not served"):
        VideoRoot(None).find("a.mp4")
    with pytest.raises(ValueError, match="no such folder"):
        VideoRoot("/nowhere/at/all")


# ---- lists of pictures ----


def picture(shade: int, size: tuple[int, int] = (64, 48)) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.full((size[1], size[0], 3), shade, np.uint8)).save(file, "JPEG")
    return file.getvalue()


def listed(pictures: list[bytes]) -> str:
    return "data:video/jpeg;base64," + ",".join(base64.b64encode(one).decode() for one in pictures)


def test_a_list_of_pictures_is_a_video_with_its_times(client: TestClient) -> None:
    """vLLM's form: a frame's time is its index over the rate."""
    clock = {"video": {"fps": 2.0, "frames_indices": [0, 10, 90, 600]}}
    body = request_of(listed([picture(shade) for shade in (20, 80, 140, 200)]), media_io_kwargs=clock)
    found = client.post("/v1/select", json={**body, "kairos": {"num_frames": 8}}).json()
    assert [frame["time_s"] for frame in found["looked_at"]] == [0.0, 5.0, 45.0, 300.0]
    without = client.post("/v1/select", json=request_of(listed([picture(30), picture(90), picture(150)]))).json()
    assert [frame["time_s"] for frame in without["looked_at"]] == [0.0, 1.0, 2.0]


def test_the_pictures_of_a_list_arrive_as_they_were_sent(tmp_path: Path) -> None:
    write_pictures(tmp_path / "v", [picture(20), picture(200)], [1.5, 7.25])
    info = probe(str(tmp_path / "v"))
    assert info.timestamps_s.tolist() == [0.0, 5.75]
    assert (info.width, info.height) == (64, 48)


def test_wrong_lists_of_pictures_are_refused(client: TestClient) -> None:
    good = [picture(20), picture(200)]
    bomb = picture(1, (5000, 8))
    for pictures, clock, words in (
        ([*good, picture(1, (32, 32))], {}, "one size"),
        ([b"GIF89a" + bytes(50)], {}, "no JPEG"),
        ([bomb], {}, "sides go up to 4096"),
        (good * 5, {}, "at most 8"),
        (good, {"frames_indices": [5, 5]}, "increasing"),
        (good, {"frames_indices": [5]}, "2 whole numbers"),
        (good, {"frames_indices": ["0", "1"]}, "whole numbers"),
        (good, {"frames_indices": [True, 2]}, "whole numbers"),
        (good, {"frames_indices": [-1, 2]}, "from 0 on"),
        (good, {"frames_indices": [0, 10**30]}, "within reason"),
        (good, {"fps": 0}, "above 0"),
        (good, {"fps": "fast"}, "above 0"),
        (good, {"fps": 1000, "frames_indices": [0, 1]}, ""),
    ):
        reply = client.post(CHAT, json=request_of(listed(pictures), media_io_kwargs={"video": clock}))
        if words:
            assert reply.status_code == 400, (clock, reply.text)
            assert words in reply.json()["error"]["message"]
        else:
            assert reply.status_code == 200, reply.text
    assert client.post(CHAT, json=request_of(listed(good), media_io_kwargs={"video": [1]})).status_code == 400


def test_times_of_pictures() -> None:
    assert times_of(3, {}) == [0.0, 1.0, 2.0]
    assert times_of(2, {"fps": 30, "frames_indices": [15, 90]}) == [0.5, 3.0]
    assert times_of(2, {"fps": 1000, "frames_indices": [7, 8]}) == [0.007, 0.008]  # as close as they may be


# ---- what was sent stays within its bytes ----


def test_the_shelf_drops_what_nobody_uses_and_keeps_what_somebody_does() -> None:
    shelf = UploadShelf(1000)

    def held(name: str, size: int = 400) -> Any:
        return shelf.holding([name.encode()], lambda path: path.write_bytes(bytes(size)) and None, size)

    with held("a") as first:
        with held("b") as second:
            assert shelf.num_bytes == 800
        with held("c"):  # in the place of b, since a is in use
            assert first.exists()
            assert not second.exists()
            with pytest.raises(RequestError, match="no room"), held("d"):
                pass
        with held("a") as again:
            assert again == first
    assert shelf.num_bytes <= 1000
    shelf.close()
    assert not shelf.folder.exists()


def test_an_upload_larger_than_the_shelf_is_told_to_come_again(client: TestClient, server: Server) -> None:
    large = f"data:video/mp4;base64,{'A' * 4 * 400_000}"
    reply = client.post(CHAT, json=request_of(large))
    assert (reply.status_code, reply.json()["error"]["code"]) == (429, "no_room")
    assert server.intake.shelf.num_bytes <= 1 << 20


# ---- other servers ----


def fetched(remote: RemoteVideos, url: str) -> bytes:
    return anyio.run(remote.fetch, url)


def remote(handler: Any, *hosts: str, most_mib: int = 1) -> RemoteVideos:
    return RemoteVideos(hosts, most_mib, 5.0, httpx2.MockTransport(handler))


def test_nothing_is_fetched_unless_its_host_is_named(client: TestClient) -> None:
    for url in ("http://127.0.0.1:1/a.mp4", "https://example.org/a.mp4", "http://169.254.169.254/latest"):
        reply = client.post(CHAT, json=request_of(url))
        assert (reply.status_code, reply.json()["error"]["code"]) == (403, "remote_host")

    def never(_: httpx2.Request) -> httpx2.Response:
        raise AssertionError("asked")

    named = remote(never, "videos.org", "local:8000")
    for url in (
        "http://other.org/a",
        "http://videos.org.evil.com/a",
        "http://videos.org@evil.com/a",
        "http://user:pass@videos.org/a",
        "http://local/a",
        "http://local:8001/a",
        "http:///a",
        "http://[::1/a",
        "http://videos.org:99999999/a",
    ):
        with pytest.raises(RequestError):
            fetched(named, url)


def test_a_named_host_is_asked_and_its_redirects_are_not_followed() -> None:
    def answers(request: httpx2.Request) -> httpx2.Response:
        if request.url.path == "/moved":
            return httpx2.Response(302, headers={"Location": "http://169.254.169.254/"})
        if request.url.path == "/large":
            return httpx2.Response(200, stream=httpx2.ByteStream(bytes(2 << 20)))
        if request.url.path == "/dead":
            raise httpx2.ConnectError("no")
        return httpx2.Response(200, stream=httpx2.ByteStream(b"video"))

    named = remote(answers, "videos.org", "local:8000")
    assert fetched(named, "https://VIDEOS.org/a.mp4") == b"video"
    assert fetched(named, "http://local:8000/a.mp4") == b"video"
    for path, words in (("moved", "status 302"), ("large", "more than 1 MiB"), ("dead", "ConnectError")):
        with pytest.raises(RequestError, match=words):
            fetched(named, f"http://videos.org/{path}")


def test_a_fetched_video_is_a_file_while_it_is_used(tmp_path: Path) -> None:
    shelf = UploadShelf(1 << 20)
    fetching = remote(lambda _: httpx2.Response(200, stream=httpx2.ByteStream(b"video")), "videos.org")
    intake = VideoIntake(VideoRoot(None), shelf, fetching, ServingLimits())

    async def used() -> bytes:
        async with intake.file_of(VideoReference(url="http://videos.org/a.mp4")) as path:
            return path.read_bytes()

    assert anyio.run(used) == b"video"
    shelf.close()
