"""Tiny datasets in their own layouts: {archive: {member: bytes}}, and a server for them."""

import functools
import hashlib
import http.server
import io
import struct
import tarfile
import threading
import zipfile
import zlib
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from experiments import datasets
from experiments.data import controlled
from experiments.data.source import read_source
from experiments.plan.study import Study

SIDE = 24


def encoded(array, kind="png", mode=None):
    out = io.BytesIO()
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(out, kind)
    return out.getvalue()


def png(width, height, text=b""):
    """A PNG file with a header for so many grey pixels, none of them, and a compressed text."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    note = chunk(b"zTXt", b"note\0\0" + zlib.compress(text)) if text else b""
    data = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + note + data + chunk(b"IEND", b"")


def image(number, side=SIDE, colour=True):
    shape = (side, side, 3) if colour else (side, side)
    return np.random.default_rng(number).integers(0, 255, shape, dtype=np.uint8)


def mask(number, side=SIDE):
    out = np.zeros((side, side), np.uint8)
    out[4 : 9 + number % 5, 6:14] = 1
    return out


def folder_of(path, n=10, colour=False, size=(40, 40)):
    """A prepared folder of `n` generated images."""
    for i in range(n):
        picture, truth = controlled.scene(np.random.default_rng(i), 40, 0.1, "large")
        picture = np.repeat(picture[..., None], 3, 2) if colour else picture
        for part, array in (("images", picture), ("masks", truth * 255)):
            (path / part).mkdir(exist_ok=True, parents=True)
            Image.fromarray(array).resize(size, 0).save(path / part / f"{i}.png")
    return path


def rewrite(folder, change, ending=".png", **options):
    """Replace each file of a folder by a changed image with this ending."""
    for path in sorted(folder.iterdir()):
        image = change(Image.open(path).copy())
        path.unlink()
        image.save(path.with_suffix(ending), **options)


def array(change):
    """A change of an image that works on its array."""
    return lambda image: Image.fromarray(change(np.asarray(image)))


def pixels(path):
    return np.asarray(Image.open(path))


def open_source(tiny, folder="own", levels=None, **settings):
    """The images of a folder as a study with these settings and levels reads them."""
    sizes = {"train": 4, "val": 2, "test": 2}
    tiny["datasets"] = {"d": {"folder": str(folder), **sizes, **settings}}
    tiny["experiments"] = {"e": {"levels": levels or {"x": {}}}}
    study = Study(tiny)
    return read_source(study, study.datasets["d"])


def busi():
    out = {}
    for kind, numbers in (("benign", (1, 2)), ("malignant", (3, 4)), ("normal", (5, 6))):
        for i in numbers:
            stem = f"Dataset_BUSI_with_GT/{kind}/{kind} ({i})"
            out[f"{stem}.png"] = encoded(image(i))
            out[f"{stem}_mask.png"] = encoded(mask(i) * 255 * (kind != "normal"))
    out["Dataset_BUSI_with_GT/benign/benign (1)_mask_1.png"] = encoded(mask(1)[::-1] * 255)
    return {"Dataset_BUSI.zip": out}


def camvid():
    out = {}
    for split, drive, start in (("train", "A1", 0), ("val", "B2", 10), ("test", "C3", 20)):
        for i in range(start, start + 2):
            out[f"CamVid/{split}/{drive}_{i}.png"] = encoded(image(i))
            ids = np.random.default_rng(i).integers(0, 12, (SIDE, SIDE), dtype=np.uint8)
            out[f"CamVid/{split}annot/{drive}_{i}.png"] = encoded(ids)
    return out


def chase_db1():
    out = {}
    for child in (1, 2, 3, 11, 12):
        for i, eye in enumerate("LR"):
            stem = f"Image_{child:02d}{eye}"
            out[f"{stem}.jpg"] = encoded(image(2 * child + i), "jpeg")
            for order in ("1st", "2nd"):
                vessels = mask(child + (order == "2nd")) * 255
                out[f"{stem}_{order}HO.png"] = encoded(vessels, mode="1")
    return {"CHASEDB1.zip": out}


def crackforest():
    out = {"image/099.jpg": encoded(image(99), "jpeg")}
    for i in range(5):
        labels = 1 + mask(i)
        labels[:2], labels[-2:] = 3, 4
        mat = io.BytesIO()
        savemat(mat, {"groundTruth": np.array([[{"Segmentation": labels}]], object)[0, 0]})
        out[f"groundTruth/{i:03d}.mat"] = mat.getvalue()
        out[f"image/{i:03d}.jpg"] = encoded(image(i), "jpeg")
    return out


def drive():
    def part(folder, numbers):
        out = {}
        for i in numbers:
            out[f"{folder}/images/{i}_{folder}.tif"] = encoded(image(i), "tiff")
            out[f"{folder}/1st_manual/{i}_manual1.gif"] = encoded(mask(i) * 255, "gif")
        return out

    return {"training.zip": part("training", range(21, 24)), "test.zip": part("test", (11, 12))}


def dsb2018():
    out = {}
    for i in range(5):
        out[f"stage1_train/n{i}/images/n{i}.png"] = encoded(image(i), mode="RGBA")
        out[f"stage1_train/n{i}/masks/a.png"] = encoded(mask(i) * 255)
        out[f"stage1_train/n{i}/masks/b.png"] = encoded(mask(i)[::-1] * 255)
    return out


def isic2018():
    out = {}
    for i, part in enumerate(("Training", "Validation", "Test")):
        folders = f"ISIC2018_Task1-2_{part}_Input", f"ISIC2018_Task1_{part}_GroundTruth"
        for j in (2 * i, 2 * i + 1):
            side = 600 if j == 0 else SIDE
            pictures, masks = (out.setdefault(f"{folder}.zip", {}) for folder in folders)
            pictures[f"{folders[0]}/ISIC_{j}.jpg"] = encoded(image(j, side), "jpeg")
            masks[f"{folders[1]}/ISIC_{j}_segmentation.png"] = encoded(mask(j, side) * 255)
    return out


def kvasir_seg():
    out = {}
    for i in range(5):
        out[f"Kvasir-SEG/images/k{i}.jpg"] = encoded(image(i), "jpeg")
        out[f"Kvasir-SEG/masks/k{i}.jpg"] = encoded(mask(i) * 255, "jpeg")
    return {"kvasir-seg.zip": out}


def oxford_pet():
    lists = {"trainval": ("Cat_1", "Cat_2", "dog_3"), "test": ("Cat_4", "dog_5")}
    pictures, notes = {}, {}
    for name, stems in lists.items():
        notes[f"annotations/{name}.txt"] = "".join(f"{s} 1 1 1\n" for s in stems).encode()
        for stem in stems:
            i = int(stem[-1])
            trimap = 2 - mask(i)
            trimap[3, :] = 3
            notes[f"annotations/trimaps/{stem}.png"] = encoded(trimap)
            notes[f"annotations/trimaps/._{stem}.png"] = b"not a picture"
            pictures[f"images/{stem}.jpg"] = encoded(image(i), "jpeg")
    return {"images.tar.gz": pictures, "annotations.tar.gz": notes}


def sirst_v2():
    lists = {"trainval": ["m1", "m2", "m3"], "val": ["m3"], "test": ["m4", "m5"]}
    out = {f"splits/{k}_v1fullv2target.txt": "\n".join(v).encode() for k, v in lists.items()}
    for i in range(1, 6):
        out[f"mixed/m{i}.png"] = encoded(image(i))
        out[f"annotations/masks/m{i}_pixels0.png"] = encoded(mask(i) * 255)
    return out


def vnc_em():
    out = {}
    for i in range(20):
        out[f"stack1/raw/{i:02d}.tif"] = encoded(image(i, colour=False), "tiff")
        out[f"stack1/membranes/{i:02d}.png"] = encoded(mask(i) * 255, mode="1")
        out[f"stack1/mitochondria/{i:02d}.png"] = encoded(mask(i) * 200)
        out[f"stack1/synapses/{i:02d}.png"] = encoded(mask(i) * 0, mode="1")
    return out


def wbc():
    out = {}
    for i in range(6):
        same = 3 if i == 4 else i  # 3 and 4 are one image
        out[f"Dataset 1/{i:03d}.bmp"] = encoded(image(same), "bmp")
        labels = mask(i) * 128
        labels[6:8, 8:10] = 255
        out[f"Dataset 1/{i:03d}.png"] = encoded(labels)
    return out


def layout(name):
    """{archive: {member: bytes}}; GitHub's archives have a folder on top."""
    tree, files = globals()[name](), datasets.load(name).ABOUT.files
    if set(tree) == {file.name for file in files}:
        return tree
    top = files[0].name.removesuffix(".zip")
    return {files[0].name: {f"{top}/{member}": data for member, data in tree.items()}}


def pack(path, members):
    """A zip or tar.gz file of members {name: bytes}."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".zip"):
        with zipfile.ZipFile(path, "w") as out:
            for name, data in members.items():
                out.writestr(name, data)
    else:
        with tarfile.open(path, "w:gz") as out:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                out.addfile(info, io.BytesIO(data))


class Handler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; cuts the first `server.cuts` answers in the middle; may know ranges."""

    def do_GET(self):
        self.server.requests.append((self.path, self.headers.get("Range")))
        try:
            data = Path(self.translate_path(self.path)).read_bytes()
        except OSError:
            return self.send_error(404)
        start, whole = 0, len(data)
        if self.server.ranges and (wanted := self.headers.get("Range")):
            start = int(wanted.removeprefix("bytes=").rstrip("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{whole - 1}/{whole}")
        else:
            self.send_response(200)
        data = data[start:]
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.server.cuts:
            self.server.cuts -= 1
            data = data[: len(data) // 2]
        self.wfile.write(data)

    def log_message(self, *words):
        pass


@contextmanager
def serving(folder):
    """A server of a folder on this machine: `address`, `requests`, `cuts`, `ranges`."""
    folder.mkdir(parents=True, exist_ok=True)
    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=folder)
    )
    server.address = f"http://127.0.0.1:{server.server_port}"
    server.folder, server.requests, server.cuts, server.ranges = folder, [], 0, True
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def serve(server, monkeypatch, name, archives=None, checksum=True):
    """Put a dataset's archives on the server and point the dataset at them."""
    module = datasets.load(name)
    files = []
    for archive, members in (archives or layout(name)).items():
        path = server.folder / name / archive
        pack(path, members)
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        address = f"{server.address}/{name}/{archive}"
        files.append(datasets.File(archive, address, f"sha256:{digest}" if checksum else None))
    monkeypatch.setattr(module, "ABOUT", replace(module.ABOUT, files=tuple(files), ask=None))
    return files
