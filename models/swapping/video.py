"""Swapping the face of a video, or of a folder of frames: one face is followed, frame by frame, in constant memory."""
from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np

from data.face_detection import find_faces
from data.image_files import list_images, read_image
from models import weights
from util.errors import UserError
from util.files import make_folder
from util.marks import save_made

_LOST = 5  # frames without a detection in which the face is taken to be where it was
CODECS = {".mp4": "mp4v", ".mov": "mp4v", ".m4v": "mp4v", ".avi": "MJPG"}
_STILL, _LEAST = 0.08, 0.35  # movement, in distances of the eyes, from which the detection counts fully; its least weight
TRACK = "track.jsonl"


def swapped_file(folder, video) -> Path:
    """Where in a folder the swap of a video, or of a folder of frames, goes: under its name, with an ending that is written."""
    video = Path(video)
    return Path(folder) / (video.name if video.is_dir() or video.suffix.lower() in CODECS else f"{video.stem}.mp4")


def count_frames(video) -> int:
    """Of a video, or of a folder of frames. Raises UserError where it is neither."""
    video = Path(video)
    if video.is_dir():
        return len(list_images(video))
    capture = _open(video)
    try:
        return max(0, int(capture.get(cv2.CAP_PROP_FRAME_COUNT)))
    finally:
        capture.release()


class Tracker:
    """Follows one face; its landmarks are smoothed where it hardly moves, by a filter that looks back only."""

    def __init__(self, points=None, lost: int = 0):
        self.points, self.lost = points if points is None else np.asarray(points, float), lost

    def step(self, faces) -> np.ndarray | None:
        """The landmarks (5, 2) in the next frame, of whose detected faces the nearest is taken; None where there is none."""
        if self.points is None:
            self.points = faces[0].points if faces else None
            return self.points
        apart = float(np.hypot(*(self.points[1] - self.points[0])))
        near = [face.points for face in faces if np.hypot(*(face.points - self.points).mean(0)) < 1.5 * apart]
        if not near:
            self.lost += 1
            if self.lost > _LOST:
                self.points, self.lost = None, 0
            return self.points
        nearest = min(near, key=lambda points: np.abs(points - self.points).mean())
        moved = np.hypot(*(nearest - self.points).mean(0)) / apart
        weight = max(_LEAST, min(1.0, moved / _STILL))
        self.points, self.lost = self.points + weight * (nearest - self.points), 0
        return self.points


def swap_video(swapper, identity, video, out, progress: Callable[[int], None] | None = None) -> int:
    """Swap the face of a video, or of a folder of frames, into `out`, a file or a folder like it; gives the number of frames.

    A run that was broken off goes on where it stopped. A video's sound is kept where ffmpeg is installed; a frame without a
    face, or in which the face is lost, stays as it is. progress(number): called after each frame. Raises UserError naming a
    frame that is broken, and for an output that was begun with another source or other weights.
    """
    video, out = Path(video), Path(out)
    is_folder = video.is_dir()
    if is_folder and out.resolve() == video.resolve():
        raise UserError(f"{out}: is the folder of the frames themselves; name another one")
    frames = make_folder(out if is_folder else out.with_name(out.name + ".frames"))
    task = {"video": video.name, "identity": hashlib.sha256(identity.cpu().numpy().tobytes()).hexdigest()[:16],
            "generator": weights.digest(swapper.model.nets["G"].state_dict())[:16]}
    rows = _read_track(frames / TRACK, task)
    tracker, number = (Tracker(rows[-1]["points"], rows[-1]["lost"]) if rows else Tracker()), 0
    with open(frames / TRACK, "w", encoding="utf-8") as track:
        track.write("".join(json.dumps(row) + "\n" for row in (task, *rows)))
        for number, (name, frame) in enumerate(_frames(video), 1):  # noqa: B007 - their number is the answer
            if number <= len(rows):
                continue
            points = tracker.step(find_faces(frame))
            result = frame if points is None else swapper.swap_at(frame, points, identity)
            save_made(result, frames / f"{name}.png")
            track.write(json.dumps({"points": None if points is None else points.tolist(), "lost": tracker.lost}) + "\n")
            track.flush()
            if progress is not None:
                progress(number)
    if not number:
        raise UserError(f"{video}: holds no frames that can be read")
    if not is_folder:
        _encode(frames, video, out)
        shutil.rmtree(frames)
    return number


def _read_track(path: Path, task: dict) -> list[dict]:
    """What is on record of the frames that are done. Raises UserError where they are of another task."""
    rows = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            rows.append(json.loads(line))
        except ValueError:
            break  # cut off
    if rows and rows[0] != task:
        raise UserError(f"{path.parent}: was begun with another source, video or generator; remove it, or name another "
                        "output")
    return rows[1:]


def _frames(video: Path) -> Iterator[tuple[str, np.ndarray]]:
    """(name, (H, W, 3) uint8 RGB) of each frame, one at a time."""
    if video.is_dir():
        for name, path in list_images(video).items():
            yield name.replace("/", "_"), np.asarray(read_image(path))
        return
    capture = _open(video)
    try:
        number = 0
        while True:
            there, frame = capture.read()
            if not there:
                return
            number += 1
            yield f"{number:07d}", cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)
    finally:
        capture.release()


def _open(video: Path):
    if not video.is_file():
        raise UserError(f"{video}: there is no such video, nor a folder of frames")
    capture = cv2.VideoCapture(str(video))
    if not capture.isOpened():
        raise UserError(f"{video}: OpenCV cannot read it as a video; convert it, or give a folder of its frames")
    return capture


def _encode(frames: Path, video: Path, out: Path) -> None:
    """Write the frames as a video, with the sound of the one they are of where ffmpeg is there."""
    capture = _open(video)
    rate = capture.get(cv2.CAP_PROP_FPS) or 25.0
    capture.release()
    silent, writer = out.with_name(f".{out.stem}.silent{out.suffix}"), None
    for path in list_images(frames).values():
        frame = cv2.cvtColor(np.asarray(read_image(path)), cv2.COLOR_RGB2BGR)
        if writer is None:
            codec = cv2.VideoWriter_fourcc(*CODECS.get(out.suffix.lower(), "MJPG"))
            writer = cv2.VideoWriter(str(silent), codec, rate, frame.shape[1::-1])
            if not writer.isOpened():
                raise UserError(f"{out}: OpenCV writes no such video; name it .mp4 or .avi")
        writer.write(frame)
    writer.release()
    program = shutil.which("ffmpeg")
    if program:
        command = [program, "-y", "-loglevel", "error", "-i", str(silent), "-i", str(video), "-map", "0:v", "-map", "1:a?",
                   "-c", "copy", "-metadata", "comment=Made by a program", str(out)]
        if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode == 0:
            silent.unlink()
            return
    silent.replace(out)
    print(f"{out}: is without sound, which ffmpeg would have kept")
