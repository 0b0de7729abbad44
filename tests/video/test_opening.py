"""What a source names: files before everything else, whatever they are called; addresses, but nothing through them."""

from __future__ import annotations

import os
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.video.making import grey_ramp, write_video
from vseg_nas.assembly.video_prediction import check_source
from vseg_nas.errors import DataError
from vseg_nas.video import stream
from vseg_nas.video.frame_folder import FrameFolder, frame_files
from vseg_nas.video.stream import VideoStream

ODD_NAMES = [
    "dashcam 12:30:00.mp4",
    "dashcam12:30:00.mp4",
    "-x.mp4",
    "%03d.mp4",
    "frame_%d.png.mp4",
    "concat:a|b.mp4",
    "pipe:",
    "subfile,,start,0,end,9,,:clip.mp4",
    "http:clip.mp4",
    "data:,a.mp4",
    "[a-b]*?.mp4",
    "7",
]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_file_is_a_file_whatever_its_name(name: str) -> None:
    write_video(Path("clip.mp4"), grey_ramp(5)).rename(name)
    check_source(name)
    source = VideoStream(name)
    assert len(list(source)) == 5
    assert not source.endless


@pytest.mark.parametrize(
    "name", [*ODD_NAMES, "file:clip.mp4", "ftp://host/a", "udp://@:1", "http://", "x\0y", "a" * 999]
)
def test_without_the_file_nothing_is_opened(name: str) -> None:
    write_video(Path("clip.mp4"), grey_ramp(5))
    with pytest.raises(DataError, match=r"source: .*found no "):
        check_source(name) if name != "7" else VideoStream(name)


@pytest.mark.parametrize("folder", ["cam[1]", "a*b", "what?", "cam[1]/x[2-3]"])
def test_a_folder_that_exists_is_taken_literally(folder: str) -> None:
    for name, grey in ((folder, 9), ("cam1", 200), ("cam[1]/x2", 200), ("aXb", 200), ("whatX", 200)):
        Path(name).mkdir(parents=True, exist_ok=True)
        PillowImage.fromarray(np.full((8, 8, 3), grey, np.uint8)).save(f"{name}/f1.png")
    for source in (folder, f"{folder}/*.png", f"./{folder}/f[0-9].png", f"{folder}/f1.png"):
        check_source(source)
        assert [frame.image.mean() for frame in FrameFolder(source, 10)] == [9]


def test_a_pattern_still_matches_folders() -> None:
    for name in ("cam1", "cam2"):
        Path(name).mkdir()
        PillowImage.fromarray(np.zeros((8, 8, 3), np.uint8)).save(f"{name}/f.png")
    expected = [Path("cam1/f.png"), Path("cam2/f.png")]
    assert frame_files("cam[1-2]/*.png") == expected
    assert frame_files("**/f.png") == expected
    assert [path.relative_to(Path.cwd()) for path in frame_files(f"{Path.cwd()}/cam?/*")] == expected


def _pipe(name: str) -> None:
    os.mkfifo(name)


def _socket(name: str) -> None:
    with socket.socket(socket.AF_UNIX) as end:
        end.bind(name)


def _device(name: str) -> None:
    os.symlink("/dev/zero", name)


@pytest.mark.parametrize(
    ("make", "found"), [(_pipe, "a pipe"), (_socket, "a socket"), (_device, "a device"), (os.mkdir, "a folder")]
)
def test_what_might_never_end_is_refused(make: Callable[[str], None], found: str) -> None:
    make("a.mp4")
    with pytest.raises(DataError, match=f"a.mp4: found {found}, expected a video file"):
        VideoStream("a.mp4")
    with pytest.raises(DataError, match="found"):
        check_source("a.mp4")


@pytest.mark.parametrize("name", ["a.txt", "a.mp4", "a.nfo", "a.ans"])
def test_text_is_no_video(name: str) -> None:
    Path(name).write_text("some text\n" * 500)
    with pytest.raises(
        DataError, match=r"(cannot be read as video|found a cover, text or an unknown codec, expected a video stream)"
    ):
        VideoStream(name)


def test_music_with_a_cover_is_no_video() -> None:
    PillowImage.fromarray(np.zeros((16, 16, 3), np.uint8)).save("cover.png")
    with av.open("a.mp4", "w") as container, av.open("cover.png") as picture:
        sound = container.add_stream("aac", rate=8000)
        assert isinstance(sound, av.AudioStream)
        cover = container.add_stream_from_template(picture.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in picture.demux(video=0):
            if packet.size:
                packet.stream = cover
                container.mux(packet)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(DataError, match="found a cover, text or an unknown codec, audio, expected a video stream"):
        VideoStream("a.mp4")


class _Server(ThreadingHTTPServer):
    """Gives what is in `files` and notes what it was asked for."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), _Handler)

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def log_message(self, format: str, *args: object) -> None: ...

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        content = self.server.files.get(self.path.partition("?")[0])
        if self.path == "/elsewhere":
            self.send_response(302)
            self.send_header("Location", f"file://{Path.cwd()}/clip.mp4")
            self.end_headers()
        elif content is None:
            self.send_error(404)
        else:
            stalls = self.path.startswith("/stalls")
            self.send_response(200)
            self.send_header("Content-Length", str(len(content) + stalls))
            self.end_headers()
            self.wfile.write(content)
            if stalls:
                self.wfile.flush()
                time.sleep(3)


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server() as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield server
        server.shutdown()


@pytest.mark.parametrize("suffix", ["mp4", "ts", "mkv"])
def test_an_address_is_read(server: _Server, suffix: str) -> None:
    server.files[f"/a.{suffix}"] = write_video(Path(f"a.{suffix}"), grey_ramp(9)).read_bytes()
    for source in (f"{server.address}/a.{suffix}?at=1&of=[2]*", f"{server.address}/a.{suffix}".replace("http", "HTTP")):
        check_source(source)
        frames = list(VideoStream(source))
        assert [float(frame.time) for frame in frames] == pytest.approx([index / 25 for index in range(9)])
        np.testing.assert_allclose([f.image.mean() for f in frames], [i.mean() for i in grey_ramp(9)], atol=3)


def test_an_address_without_a_video_is_one_line(server: _Server) -> None:
    with pytest.raises(DataError, match=r"cannot be read as video \(Server returned 404"):
        VideoStream(f"{server.address}/none.mp4")
    server.files["/a.mp4"] = b"no video" * 500
    with pytest.raises(DataError, match="cannot be read as video"):
        VideoStream(f"{server.address}/a.mp4")
    with pytest.raises(DataError, match="cannot be read as video"):
        VideoStream("https://127.0.0.1:1/a.mp4")


PLAYLISTS = {
    "m3u8": "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}.ts\n#EXT-X-ENDLIST\n",
    "ffconcat": "ffconcat version 1.0\nfile '{}.ts'\n",
    "mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT1S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
    'mimeType="video/mp2t"><Representation id="1" bandwidth="1"><BaseURL>{}.ts</BaseURL></Representation>'
    "</AdaptationSet></Period></MPD>",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
@pytest.mark.parametrize("name", ["list.{}", "list.mp4"])
def test_a_playlist_reaches_nothing(server: _Server, kind: str, name: str) -> None:
    """Neither files nor addresses, whether it is a file or at an address."""
    clip = write_video(Path("clip.ts"), grey_ramp(9))
    server.files["/clip.ts"] = clip.read_bytes()
    server.files["/list." + kind] = server.files["/list.mp4"] = PLAYLISTS[kind].format("clip").encode()
    path = name.format(kind)
    for target in ("clip", f"file:{clip.absolute().with_suffix('')}", f"{server.address}/clip"):
        Path(path).write_text(PLAYLISTS[kind].format(target))
        with pytest.raises(DataError, match=r"cannot be read as video|found nothing"):
            VideoStream(path)
    assert server.asked == []
    with pytest.raises(DataError, match=r"cannot be read as video|found nothing"):
        VideoStream(f"{server.address}/{path}")
    assert set(server.asked) == {f"/{path}"}


def test_an_address_leads_to_no_file(server: _Server) -> None:
    write_video(Path("clip.mp4"), grey_ramp(5))
    with pytest.raises(DataError, match="cannot be read as video"):
        VideoStream(f"{server.address}/elsewhere")


@pytest.mark.parametrize("scheme", ["http", "https", "rtsp"])
def test_an_address_that_never_answers_is_one_line(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    monkeypatch.setattr(stream, "ANSWER_S", 0.4)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        start = time.monotonic()
        with pytest.raises(DataError, match=r"cannot be read as video \(no answer within 0.4 s\)"):
            VideoStream(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/a.mp4")
        assert time.monotonic() - start < 3


def test_an_address_that_falls_silent_gives_what_came(server: _Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_S", 0.4)
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (96, 128, 3), dtype=np.uint8) for _ in range(30)]
    server.files["/stalls.ts"] = write_video(Path("a.ts"), images).read_bytes()
    source = VideoStream(f"{server.address}/stalls.ts")
    assert len(list(source)) == 30
    assert source.first_error.endswith("unreadable from here on (no answer within 0.4 s)")


class _Camera(socketserver.StreamRequestHandler):
    """Serves raw H.264 by RTSP, over the connection that asks."""

    def handle(self) -> None:
        while lines := list(iter(lambda: self.rfile.readline().decode().strip(), "")):
            verb, sequence = lines[0].split()[0], next(line for line in lines if line.lower().startswith("cseq"))
            head, body = f"RTSP/1.0 200 OK\r\n{sequence}\r\nSession: 1\r\n", ""
            if verb == "OPTIONS":
                head += "Public: OPTIONS, DESCRIBE, SETUP, PLAY\r\n"
            if verb == "DESCRIBE":
                body = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=x\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\n"
                body += "a=rtpmap:96 H264/90000\r\na=control:track1\r\n"
                head += f"Content-Type: application/sdp\r\nContent-Length: {len(body)}\r\n"
            if verb == "SETUP":
                head += "Transport: RTP/AVP/TCP;unicast;interleaved=0-1\r\n"
            self.wfile.write(f"{head}\r\n{body}".encode())
            if verb == "PLAY":
                self._play()
                return

    def _play(self) -> None:
        frames = 0
        units = [unit for unit in self.server.clip.replace(b"\0\0\0\1", b"\0\0\1").split(b"\0\0\1") if unit]  # type: ignore[attr-defined]
        for index, unit in enumerate(units):
            ends = unit[0] & 31 in (1, 5)  # a slice
            header = bytes([0x80, 0xE0 if ends else 0x60]) + index.to_bytes(2, "big")
            packet = header + (3600 * frames).to_bytes(4, "big") + bytes(4) + unit
            self.wfile.write(b"$\0" + len(packet).to_bytes(2, "big") + packet)
            frames += ends
        self.wfile.flush()
        time.sleep(1)


def test_a_camera_is_read_by_rtsp(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "ANSWER_S", 0.6)
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Camera) as server:
        server.daemon_threads, server.block_on_close = True, False
        server.clip = write_video(Path("a.h264"), grey_ramp(30), gop=1).read_bytes()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        address = f"rtsp://127.0.0.1:{server.server_address[1]}/camera"
        check_source(address)
        source = VideoStream(address)
        assert (source.size, source.endless) == ((48, 64), True)
        times = [float(frame.time) for frame in source]
        assert times == pytest.approx([index / 25 for index in range(len(times))], abs=1e-4)
        assert len(times) > 20
        server.shutdown()


def test_metadata_need_not_be_text() -> None:
    path = write_video(Path("a.mkv"), grey_ramp(5))
    content = path.read_bytes()
    assert b"Lavf" in content
    path.write_bytes(content.replace(b"Lavf", b"La\xff\xfe"))
    assert len(list(VideoStream("a.mkv"))) == 5
