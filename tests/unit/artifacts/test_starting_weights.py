"""The files that hold the tensors of a network, and the files in which they are looked for."""

from __future__ import annotations

import copy
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn
from ultralytics import YOLO

from support.paths import TINY
from ultralytics_wb_ddp.artifacts.starting_weights import (
    WeightSample,
    candidate_files_of_calling_model,
    candidate_files_of_trainer,
)


def make(seed: int, classes: int = 2) -> nn.Sequential:
    torch.manual_seed(seed)
    layers = [nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), *(nn.Conv2d(16, 16, 3) for _ in range(12))]
    return nn.Sequential(*layers, nn.Conv2d(16, classes, 3))


def save(network: nn.Module, file: Path, *, half: bool = True) -> Path:
    kept = copy.deepcopy(network)
    torch.save({"model": kept.half() if half else kept}, file)
    return file


def as_loaded(network: nn.Module) -> nn.Module:
    return copy.deepcopy(network).half().float()


def test_file_is_found_by_its_tensors(tmp_path: Path) -> None:
    one, other = save(make(1), tmp_path / "one.pt"), save(make(2), tmp_path / "other.pt")

    assert WeightSample.of_network(as_loaded(make(2))).matching_files([one, other]) == [other]
    assert WeightSample.of_network(as_loaded(make(3))).matching_files([one, other]) == []


def test_likeliest_of_equal_files_is_taken(tmp_path: Path) -> None:
    files = [save(make(1), tmp_path / name) for name in ("b.pt", "a.pt")]

    assert WeightSample.of_network(as_loaded(make(1))).matching_files(files) == files[:1]


def test_precision_and_memory_format_make_no_difference(tmp_path: Path) -> None:
    half = save(make(1).to(memory_format=torch.channels_last), tmp_path / "half.pt")
    full = save(make(2), tmp_path / "full.pt", half=False)

    assert WeightSample.of_network(as_loaded(make(1))).matching_files([full, half]) == [half]
    assert WeightSample.of_network(make(2).to(memory_format=torch.channels_last)).matching_files([half, full]) == [full]


def test_network_of_another_number_of_classes_holds_the_other_tensors(tmp_path: Path) -> None:
    file, network = save(make(1), tmp_path / "one.pt"), make(2, classes=80)
    same = {name: tensor for name, tensor in as_loaded(make(1)).state_dict().items() if not name.startswith("14.")}
    network.load_state_dict(same, strict=False)

    assert WeightSample.of_network(network).matching_files([file]) == [file]


def test_file_that_a_large_part_is_from_is_found_beside_another_and_one_of_a_head_is_not(tmp_path: Path) -> None:
    body, part, head = (save(make(seed), tmp_path / f"{seed}.pt") for seed in (1, 2, 3))
    network = as_loaded(make(1))
    for seed, layers in ((2, (8, 9, 10)), (3, (14,))):
        other = as_loaded(make(seed)).state_dict()
        network.load_state_dict({key: other[key] for key in other if int(key.split(".")[0]) in layers}, strict=False)

    assert WeightSample.of_network(network).matching_files([head, part, body]) == [body, part]


def test_constants_of_every_new_network_are_no_sign(tmp_path: Path) -> None:
    constant = nn.Sequential(nn.BatchNorm2d(64), nn.Linear(16, 16))
    nn.init.zeros_(constant[1].weight)

    assert WeightSample.of_network(constant).matching_files([save(constant, tmp_path / "new.pt")]) == []


def test_network_that_has_seen_images_is_told_from_a_new_one() -> None:
    network = nn.BatchNorm2d(32)
    new = WeightSample.of_network(network)
    network(torch.rand(2, 32, 4, 4))

    assert (new.is_trained, WeightSample.of_network(network).is_trained) == (False, True)


def test_sample_stays_what_the_network_was(tmp_path: Path) -> None:
    network = as_loaded(make(1))
    file, sample = save(network, tmp_path / "one.pt"), WeightSample.of_network(network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()

    assert sample.matching_files([file]) == [file]


def test_sample_of_a_large_network_is_small() -> None:
    sample = WeightSample.of_network(nn.ModuleList(nn.Linear(512, 512) for _ in range(60)))

    assert 0 < sum(values.size for values in sample.weights) <= 2_000_000


def test_no_code_of_a_checkpoint_is_run(tmp_path: Path) -> None:
    file = save(make(1), tmp_path / "one.pt")
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(tmp_path / "harmful.pt", "w") as target:
        for entry in archive.infolist():
            harmful = b"cos\nsystem\n(S'touch ran'\ntR."
            target.writestr(entry, harmful if entry.filename.endswith(".pkl") else archive.read(entry))

    assert WeightSample.of_network(as_loaded(make(1))).matching_files([tmp_path / "harmful.pt"]) == [
        tmp_path / "harmful.pt"
    ]
    assert not Path("ran").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", None])
def test_file_that_is_no_checkpoint_holds_no_tensors(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        (tmp_path / "a.pt").write_bytes(content)

    assert WeightSample.of_network(make(1)).matching_files([tmp_path / "a.pt"]) == []


# Where they are looked for


class Model(YOLO):
    """A model whose training only returns the files that may hold its weights."""

    def train(self) -> tuple[str, ...]:
        return candidate_files_of_calling_model()


@pytest.mark.parametrize(
    ("make_model", "weights"),
    [
        pytest.param(lambda: Model("a.pt"), ["a.pt"], id="checkpoint"),
        pytest.param(lambda: Model("a.pt").load("b.pt"), ["b.pt"], id="load"),
        pytest.param(lambda: Model(str(TINY)).load("a.pt"), ["a.pt"], id="yaml-load"),
        pytest.param(lambda: Model(str(TINY)), [], id="yaml"),
    ],
)
def test_weights_of_a_model_are_in_a_file_that_its_calls_have_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_model: Callable[[], Model], weights: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a.pt", "b.pt"):
        new = YOLO(str(TINY))
        new.ckpt = new.ckpt or {}  # Ultralytics 8.3.0 cannot save it otherwise
        new.save(name)
    model = make_model()

    files = [Path(file) for file in model.train()]

    assert WeightSample.of_network(model.model).matching_files(files) == [tmp_path / name for name in weights]


def test_files_of_a_trainer_are_those_that_exist_the_likeliest_first(tmp_path: Path) -> None:
    files = {name: tmp_path / f"{name}.pt" for name in ("own", "pretrained", "model", "further")}
    for file in files.values():
        file.touch()
    arguments = SimpleNamespace(pretrained=str(files["pretrained"]), model=str(files["model"]))
    trainer = SimpleNamespace(model=SimpleNamespace(pt_path=str(files["own"])), args=arguments)
    files["model"].unlink()

    found = candidate_files_of_trainer(trainer, [str(files["further"]), str(files["own"])])

    assert found == (files["own"], files["pretrained"], files["further"])
