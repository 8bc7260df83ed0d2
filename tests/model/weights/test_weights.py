"""Checkpoints: told apart by content, checked entry by entry, never run."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor
from typer.testing import CliRunner

from model.network import SiamMask, SiamMaskConfig
from model.weights import WeightsError, load_imagenet_resnet18, load_weights, save_weights
from model.weights.__main__ import app
from tests.model.golden import seeded_checkpoint
from tests.pipeline.videos import make_video


@pytest.fixture(scope="module")
def seeded(shared: Path) -> dict[str, Tensor]:
    return seeded_checkpoint(shared)


@pytest.fixture(scope="module")
def small() -> SiamMask:
    torch.manual_seed(1)
    return SiamMask(SiamMaskConfig("resnet18", "three", True)).eval()


def test_safetensors_round_trip_keeps_network_and_metadata(small: SiamMask, tmp_path: Path) -> None:
    path = tmp_path / "model.bin"  # the name says nothing: content decides
    save_weights(path, small, metadata={"name": "small", "tracker": {"lr": 0.5}}, dtype=torch.float32)
    loaded = load_weights(path)
    assert loaded.layout == "siammask-batch"
    assert loaded.metadata == {"name": "small", "tracker": {"lr": 0.5}}
    assert loaded.model.config == small.config
    assert not loaded.model.training
    for name, value in small.state_dict().items():
        torch.testing.assert_close(loaded.model.state_dict()[name], value)


def test_half_precision_keeps_what_it_cannot_hold(small: SiamMask, tmp_path: Path) -> None:
    wide = SiamMask(small.config)
    wide.load_state_dict(small.state_dict())
    wide.neck[1].running_var.fill_(1e6)
    save_weights(tmp_path / "wide", wide, metadata={})
    loaded = load_weights(tmp_path / "wide").model
    assert float(loaded.neck[1].running_var[0]) == 1e6
    assert (tmp_path / "wide").stat().st_size < 25e6


@pytest.mark.shared
@pytest.mark.parametrize("wrap", [dict, lambda state: {"epoch": 3, "state_dict": state}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_public_files_bare_or_wrapped(
    seeded: dict[str, Tensor], tmp_path: Path, wrap: Callable[[dict], dict], prefix: str
) -> None:
    torch.save(wrap({prefix + name: value for name, value in seeded.items()}), tmp_path / "a.pth")
    loaded = load_weights(tmp_path / "a.pth")
    assert (loaded.layout, loaded.model.config.backbone) == ("official", "resnet50")
    torch.testing.assert_close(
        loaded.model.state_dict()["backbone.layer3.5.conv3.weight"],
        seeded["features.features.layer3.5.conv3.weight"],
    )


@pytest.mark.shared
def test_base_model_has_no_refinement(seeded: dict[str, Tensor], tmp_path: Path) -> None:
    base = {name: value for name, value in seeded.items() if not name.startswith("refine_model.")}
    torch.save(base, tmp_path / "base.pth")
    assert load_weights(tmp_path / "base.pth").model.config.refine is False


@pytest.mark.shared
@pytest.mark.parametrize("layout", ["official", "pysot"])
@pytest.mark.parametrize("fault", ["missing", "renamed", "reshaped", "nan"])
def test_one_bad_entry_is_named(shared: Path, tmp_path: Path, layout: str, fault: str) -> None:
    state = seeded_checkpoint(shared, layout)
    name = next(entry for entry in state if entry.endswith("cls.head.3.weight"))
    value = state.pop(name)
    if fault == "renamed":
        state[name + "_old"] = value
    elif fault == "reshaped":
        state[name] = value[:, :-1]
    elif fault == "nan":
        state[name] = value.index_fill(0, torch.tensor([2]), float("nan"))
    torch.save(state, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=name.replace(".", r"\.")):
        load_weights(tmp_path / "bad.pth")


@pytest.mark.shared
def test_extra_entry_is_named(seeded: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({**seeded, "rpn_model.extra.weight": torch.zeros(1)}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match=r"unexpected entry rpn_model\.extra\.weight"):
        load_weights(tmp_path / "bad.pth")


class _Bomb:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("bomb-went-off"),))


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": {"rpn_model.cls": _Bomb()}}, tmp_path / "zip.pth")
    (tmp_path / "legacy.pth").write_bytes(pickle.dumps(_Bomb(), protocol=2))
    for name in ("zip.pth", "legacy.pth"):
        with pytest.raises(WeightsError, match=name):
            load_weights(tmp_path / name)
    assert not (tmp_path / "bomb-went-off").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html><html>", "HTML page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS pointer"),
        (b"\x1f\x8b\x08\x00rest", "gzip"),
        (b"not a checkpoint at all", "begins with"),
        (b"PK\x03\x04 broken zip", "damaged"),
    ],
)
def test_other_files_are_named_for_what_they_are(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "weights.pth").write_bytes(content)
    with pytest.raises(WeightsError, match=message):
        load_weights(tmp_path / "weights.pth")


def test_other_networks_and_other_safetensors_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(3, 3)}, tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"another network.*fc\.weight"):
        load_weights(tmp_path / "other.pth")
    save_file({"fc.weight": torch.zeros(3, 3)}, str(tmp_path / "other.safetensors"))
    with pytest.raises(WeightsError, match="without our header"):
        load_weights(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_weights(tmp_path / "absent.pth")


@pytest.mark.shared
def test_imagenet_start_takes_bgr_bytes(shared: Path) -> None:
    """The folded stem answers BGR 0..255 as the source answers normalised RGB."""
    import numpy as np

    path = shared / "data" / "weights" / "resnet18_imagenet_bnfolded.npz"
    model = SiamMask(SiamMaskConfig("resnet18"))
    load_imagenet_resnet18(model, path)
    source = {name: torch.from_numpy(value).float() for name, value in np.load(path).items()}
    rgb = torch.randint(0, 256, (1, 3, 31, 31)).float()
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    normal = (rgb / 255 - mean[:, None, None]) / std[:, None, None]
    want = torch.nn.functional.conv2d(normal, source["conv1.weight"], source["conv1.bias"], 2)
    with torch.no_grad():
        got = model.backbone.conv1(rgb.flip(1))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)
    with pytest.raises(WeightsError, match="resnet50"):
        load_imagenet_resnet18(SiamMask(SiamMaskConfig("resnet50")), path)


def test_imagenet_start_folds_the_batch_norm_of_a_checkpoint(tmp_path: Path) -> None:
    """Each convolution answers as the checkpoint's convolution and batch norm after it."""
    import numpy as np

    model = SiamMask(SiamMaskConfig("resnet18"))
    torch.manual_seed(3)
    entries, layers = {"fc.weight": torch.zeros(4, 4)}, {}
    for name, value in model.backbone.state_dict().items():
        if name.endswith(".weight"):
            layer = name.removesuffix(".weight")
            norm = layer.replace("conv", "bn").replace("downsample.0", "downsample.1")
            batch_norm = torch.nn.BatchNorm2d(len(value)).eval()
            for tensor in batch_norm.state_dict().values():
                if tensor.is_floating_point():
                    tensor.copy_(torch.rand(len(value)) + 0.5)
            entries[name] = torch.randn_like(value)
            entries |= {f"{norm}.{key}": tensor for key, tensor in batch_norm.state_dict().items()}
            layers[layer] = batch_norm
    torch.save(entries, tmp_path / "resnet18-5c106cde.pth")
    load_imagenet_resnet18(model, tmp_path / "resnet18-5c106cde.pth")
    assert len(layers) == 15
    for layer, batch_norm in layers.items():
        if layer == "conv1":
            continue
        module = model.backbone.get_submodule(layer)
        ones = torch.ones(1, module.weight.shape[1], 5, 5)
        with torch.no_grad():
            want = batch_norm(torch.nn.functional.conv2d(ones, entries[f"{layer}.weight"]))
            got = torch.nn.functional.conv2d(ones, module.weight, module.bias)
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-3)
    folded = {name: value.numpy() for name, value in model.backbone.state_dict().items()}
    np.savez(tmp_path / "short.npz", **{"conv1.weight": folded["conv1.weight"]})
    (tmp_path / "x.npz").write_bytes(b"not a zip")
    for name, message in (("short", "lacks entry conv1.bias"), ("none", "no readable .npz"), ("x", "no readable .npz")):
        with pytest.raises(WeightsError, match=message):
            load_imagenet_resnet18(model, tmp_path / f"{name}.npz")
    torch.save({"conv1.weight": entries["conv1.weight"]}, tmp_path / "bare.pth")
    with pytest.raises(WeightsError, match=r"bare.pth: lacks entry bn1.weight; expected torchvision's ResNet-18"):
        load_imagenet_resnet18(model, tmp_path / "bare.pth")


def test_inspect_and_convert_on_the_command_line(small: SiamMask, tmp_path: Path) -> None:
    path, target = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    save_weights(path, small, metadata={"name": "small", "licence": "for tests"}, dtype=torch.float32)
    shown = CliRunner().invoke(app, ["inspect", str(path)])
    assert shown.exit_code == 0
    assert "three-branch, resnet18, with refinement" in shown.stdout
    assert "for tests" in shown.stdout
    converted = CliRunner().invoke(app, ["convert", str(path), str(target)])
    assert converted.exit_code == 0
    assert load_weights(target).metadata["converted_from"]["layout"] == "siammask-batch"
    (tmp_path / "bad").write_bytes(b"")
    refused = CliRunner().invoke(app, ["inspect", str(tmp_path / "bad")])
    assert refused.exit_code == 2
    assert "is empty" in refused.stderr


def test_calibrate_measures_on_videos_and_a_converted_file_keeps_it(small: SiamMask, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    make_video(videos / "a.mp4", 5)
    make_video(videos / "b.mp4", 3)
    (videos / "notes.txt").write_text("no video")
    path, target, copied = (tmp_path / f"{name}.safetensors" for name in "abc")
    save_weights(path, small, metadata={"name": "small"}, dtype=torch.float32)
    assert not load_weights(path).model.int8_ranges
    arguments = ["calibrate", str(path), str(target), "--video", str(videos), "--windows", "3"]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "backbone.layer3.1" in done.stdout
    first = load_weights(target)
    assert first.metadata["int8"]["windows"] == 3
    assert first.model.int8_ranges["neck"] > 0
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert load_weights(target).model.int8_ranges == first.model.int8_ranges
    assert CliRunner().invoke(app, ["convert", str(target), str(copied)]).exit_code == 0
    assert load_weights(copied).model.int8_ranges == first.model.int8_ranges


@pytest.mark.parametrize("folder", [False, True])
def test_calibrate_names_what_is_no_video(small: SiamMask, tmp_path: Path, folder: bool) -> None:
    path, video = tmp_path / "a.safetensors", tmp_path / "v.mp4"
    save_weights(path, small, metadata={}, dtype=torch.float32)
    if folder:
        video.mkdir()
    else:
        video.write_text("not a video")
    done = CliRunner().invoke(app, ["calibrate", str(path), str(path), "--video", str(video)])
    assert done.exit_code == 2
    assert done.stderr.startswith("error: ")
    assert ("no file in this folder is a video" if folder else "v.mp4") in done.stderr


def test_damaged_ranges_are_named(small: SiamMask, tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    save_weights(path, small, metadata={"int8": {"ranges": {"neck": "wide"}}})
    with pytest.raises(WeightsError, match="ranges for int8"):
        load_weights(path)
