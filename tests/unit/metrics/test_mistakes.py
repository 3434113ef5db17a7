"""The images that the model got most wrong: how they are ranked, what is kept of them, and the table that shows them."""

from __future__ import annotations

import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import wandb
from PIL import Image
from ultralytics.models.yolo.classify import ClassificationValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.models.yolo.obb import OBBValidator
from ultralytics.models.yolo.pose import PoseValidator
from ultralytics.models.yolo.segment import SegmentationValidator

from ultralytics_wb_ddp.distributed.rank_store import RankStore
from ultralytics_wb_ddp.distributed.topology import Topology
from ultralytics_wb_ddp.metrics import mistake_collector
from ultralytics_wb_ddp.metrics.mistake_collector import MistakeCollector
from ultralytics_wb_ddp.metrics.mistakes import (
    ImageAnnotations,
    Mistake,
    MistakeScore,
    WorstImages,
    encode_picture,
    select_worst,
)
from ultralytics_wb_ddp.metrics.mistakes_table import mistakes_table

if TYPE_CHECKING:
    from collections.abc import Iterator

NAMES = {0: "cat", 1: "dog", 2: "fox"}
VALIDATORS = {
    "detect": DetectionValidator,
    "segment": SegmentationValidator,
    "pose": PoseValidator,
    "obb": OBBValidator,
}
BOXES = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.75, 0.5, 0.25, 0.5]])  # centre, width and height of two objects
ANGLE = 0.5


def mistake(name: str, mistakes: int = 1, confidence: float = 0.5) -> Mistake:
    picture = encode_picture(np.full((32, 48, 3), 90, np.uint8))
    truth = ImageAnnotations(np.array([1]), boxes=np.array([[0.1, 0.2, 0.5, 0.6]]))
    return Mistake(name, MistakeScore(mistakes, confidence), 1, 0, picture, truth, ImageAnnotations(np.zeros(0, int)))


def make_validator(task: str, tmp_path: Path, **args: Any) -> Any:
    """Return Ultralytics' own validator in the middle of a final evaluation."""
    validator = VALIDATORS[task](save_dir=tmp_path, args={"task": task, "plots": False, **args})
    validator.data = {"val": "", "path": "/data", "kpt_shape": [4, 3]}
    validator.device = torch.device("cpu")
    validator.init_metrics(SimpleNamespace(names=NAMES))  # all that it looks for in a model
    validator.training = False
    validator.dataloader, validator.batch_i = [None], 0
    return validator


def labels(task: str) -> dict[str, Any]:
    """Return a batch of one image of 64 pixels that shows a cat and a dog."""
    batch: dict[str, Any] = {
        "img": torch.full((1, 3, 64, 64), 0.5),
        "im_file": ["/data/images/val/a.jpg"],
        "ori_shape": [(64, 64)],
        "ratio_pad": [((1.0, 1.0), (0.0, 0.0))],
        "batch_idx": torch.zeros(2),
        "cls": torch.tensor([[0.0], [1.0]]),
        "bboxes": BOXES.clone(),
    }
    if task == "obb":
        batch["bboxes"] = torch.cat([BOXES, torch.full((2, 1), ANGLE)], 1)
    if task == "segment":
        batch["masks"] = torch.zeros(1, 16, 16)
        batch["masks"][0, 2:6, 2:6], batch["masks"][0, 4:12, 10:14] = 1.0, 2.0
    if task == "pose":
        batch["keypoints"] = torch.rand(2, 4, 3, generator=torch.Generator().manual_seed(0))
        batch["keypoints"][..., 2] = torch.tensor([0.0, 1.0, 2.0, 2.0])  # the first is hidden
    return batch


def answers(task: str, batch: dict[str, Any]) -> list[dict[str, torch.Tensor]]:
    """Return what a model predicts that finds the cat and the dog, and a fox where the cat is."""
    which = [0, 1, 0]
    boxes = BOXES[which] * 64
    answer = {
        "bboxes": torch.cat([boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2], 1),
        "conf": torch.tensor([0.9, 0.8, 0.7]),
        "cls": torch.tensor([0.0, 1.0, 2.0]),
    }
    if task == "obb":
        answer["bboxes"] = torch.cat([boxes, torch.full((3, 1), ANGLE)], 1)
    if task == "segment":
        answer["masks"] = torch.stack([batch["masks"][0] == index + 1 for index in which]).to(torch.uint8)
    if task == "pose":
        answer["keypoints"] = batch["keypoints"][which] * torch.tensor([64.0, 64.0, 1.0])
    return [answer]


def with_mistakes(count: int) -> tuple[list[dict[str, torch.Tensor]], dict[str, Any]]:
    """Return predictions and the image that they are of, with so many mistakes."""
    batch = {**labels("detect"), "im_file": [f"/data/{count}.jpg"]}
    (answer,) = answers("detect", batch)
    rows = [0, 1, *[2] * count]
    return [{name: values[rows] for name, values in answer.items()}], batch


def stored(table: Any) -> tuple[list[list[Any]], dict[str, bytes]]:
    """Return the rows of a table and its files as W&B stores them."""
    artifact = wandb.Artifact("tables", "table")
    artifact.add(table, "table")
    files = {path: Path(entry.local_path or "").read_bytes() for path, entry in artifact.manifest.entries.items()}
    return json.loads(files["table.table.json"])["data"], files


def collect(validator: Any, preds: Any, batch: dict[str, Any], size: int = 4) -> list[Mistake]:
    collector = MistakeCollector(size, None)
    collector.attach(validator)
    validator.update_metrics(preds, batch)
    return collector.gather()


# Ranking


def test_image_with_more_mistakes_is_worse_and_then_the_one_with_the_surest_wrong_prediction() -> None:
    assert MistakeScore(3, 0.3) > MistakeScore(2, 0.9) > MistakeScore(2, 0.8) > MistakeScore(0, 0.0)


def test_mistakes_are_missed_objects_and_wrong_predictions() -> None:
    wrong, confidence = np.array([False, True, True, False]), np.array([0.9, 0.6, 0.3, 0.99])

    assert MistakeScore.of_detections(wrong, confidence, missed=2) == MistakeScore(4, 0.6)
    assert MistakeScore.of_detections(np.zeros(0, bool), np.zeros(0), missed=1) == MistakeScore(1, 0.0)


def test_only_images_among_the_worst_are_made_and_kept() -> None:
    made = []

    def offer(kept: WorstImages, name: str, mistakes: int) -> None:
        kept.add_if_worse(MistakeScore(mistakes, 0.5), lambda: made.append(name) or mistake(name, mistakes))  # type: ignore[func-returns-value]

    kept = WorstImages(2)
    for name, mistakes in (("a", 1), ("b", 3), ("none", 0), ("c", 1), ("d", 2), ("e", 1)):
        offer(kept, name, mistakes)

    assert [each.name for each in kept.sorted()] == ["b", "d"]
    assert made == ["a", "b", "d"]  # of two that are as bad, the first stays


def test_image_that_two_ranks_evaluated_counts_once() -> None:
    found = [
        ("a", MistakeScore(1, 0.5)),
        ("b", MistakeScore(4, 0.5)),
        ("a", MistakeScore(1, 0.5)),
        ("c", MistakeScore(2, 0.1)),
        ("d", MistakeScore(1, 0.2)),
    ]

    assert select_worst(found, 3) == [1, 3, 0]


# What is read from a validator


def test_prediction_below_the_threshold_counts_neither_way(tmp_path: Path) -> None:
    batch = labels("detect")
    preds = answers("detect", batch)
    preds[0]["conf"] = torch.tensor([0.9, 0.2, 0.1])  # the dog is found with too little confidence, as is the fox

    (found,) = collect(make_validator("detect", tmp_path), preds, batch)

    assert (found.rank, found.labelled, found.wrong) == (MistakeScore(1, 0.0), 2, 0)
    assert found.predictions.classes.tolist() == [0]


def test_threshold_is_the_confidence_that_the_training_was_given(tmp_path: Path) -> None:
    batch = labels("detect")
    preds = answers("detect", batch)
    preds[0]["conf"] = torch.tensor([0.9, 0.2, 0.1])

    (found,) = collect(make_validator("detect", tmp_path, conf=0.05), preds, batch)

    assert (found.rank, found.wrong) == (MistakeScore(1, 0.1), 1)
    assert found.predictions.correct.tolist() == [True, True, False]


@pytest.mark.parametrize("task", VALIDATORS)
def test_right_predictions_lie_where_the_labels_lie(task: str, tmp_path: Path) -> None:
    batch = labels(task)

    (found,) = collect(make_validator(task, tmp_path), answers(task, batch), batch)

    truth, predictions = found.truth, found.predictions
    assert (found.name, found.rank, found.labelled, found.wrong) == ("images/val/a.jpg", MistakeScore(1, 0.7), 2, 1)
    assert (truth.classes.tolist(), predictions.classes.tolist()) == ([0, 1], [0, 1, 2])
    assert predictions.correct.tolist() == [True, True, False]
    assert predictions.boxes[:2] == pytest.approx(truth.boxes, abs=1e-6)
    assert predictions.corners[:2] == pytest.approx(truth.corners, abs=1e-6)
    if task == "obb":
        assert truth.corners.mean(1) == pytest.approx(BOXES[:, :2].numpy(), abs=1e-6)
        sides = np.linalg.norm(np.diff(truth.corners, axis=1), axis=-1)
        assert sides[0] == pytest.approx([0.25] * 3)
        assert len(truth.boxes) == 0
    else:
        assert truth.boxes == pytest.approx(np.array([[0.125, 0.125, 0.375, 0.375], [0.625, 0.25, 0.875, 0.75]]))
    if task == "segment":
        assert truth.mask is not None
        assert predictions.mask is not None
        assert (predictions.mask == truth.mask).all()  # the surer of two that overlap is seen
        assert (truth.mask[3, 3], truth.mask[8, 12], truth.mask[0, 0]) == (1, 2, 0)
    if task == "pose":
        assert truth.points[1].tolist() == [0, 0, 0, 1, 1, 1]  # three of four keypoints are visible
        assert predictions.points[0][:6] == pytest.approx(truth.points[0], abs=1e-6)


def test_classification_ranks_wrong_classes_by_confidence(tmp_path: Path) -> None:
    validator = ClassificationValidator(save_dir=tmp_path, args={"task": "classify", "plots": False})
    validator.data = {"val": "", "path": "/data"}
    validator.init_metrics(SimpleNamespace(names=NAMES))
    validator.training, validator.dataloader, validator.batch_i = False, [None], 0
    scores = torch.tensor([[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.2, 0.8, 0.0]])
    colours = torch.tensor([0.1, 0.5, 0.9])[:, None, None, None].expand(3, 3, 32, 32)

    first, second = collect(validator, scores, {"img": colours, "cls": torch.tensor([1, 2, 0])})

    assert [first.rank, second.rank] == [MistakeScore(1, 0.8), MistakeScore(1, 0.6)]
    assert (first.truth.classes.tolist(), first.truth.confidence.round(3).tolist()) == ([0], [0.2])
    assert first.predictions.classes.tolist() == [1, 0, 2]
    assert np.asarray(Image.open(io.BytesIO(first.picture))).mean() == pytest.approx(0.9 * 255, abs=2)


def test_kept_picture_is_small(tmp_path: Path) -> None:
    batch = labels("detect")
    batch["img"] = torch.rand(1, 3, 1280, 960)

    (found,) = collect(make_validator("detect", tmp_path), answers("detect", batch), batch)

    assert Image.open(io.BytesIO(found.picture)).size == (480, 640)
    assert len(found.picture) < 500_000


def test_validator_is_left_alone_in_epochs_and_after_its_last_batch(tmp_path: Path) -> None:
    validator, batch = make_validator("detect", tmp_path), labels("detect")
    collector = MistakeCollector(4, None)

    validator.training = True
    collector.attach(validator)
    assert "update_metrics" not in vars(validator)

    validator.training, validator.dataloader = False, [None, None]
    collector.attach(validator)
    validator.update_metrics(answers("detect", batch), batch)
    assert "update_metrics" in vars(validator)
    validator.batch_i = 1
    validator.update_metrics(answers("detect", batch), batch)
    assert "update_metrics" not in vars(validator)
    assert len(collector.gather()) == 2


class NothingKept(DetectionValidator):
    """A validator of a user's own, or of a release to come, that keeps nothing where others do."""

    def update_metrics(self, preds: Any, batch: Any) -> None:  # noqa: ARG002  # as validators have it
        self.seen += len(preds)


def test_validator_that_cannot_be_read_goes_on_and_the_cause_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(VALIDATORS, "detect", NothingKept)
    validator, batch = make_validator("detect", tmp_path), labels("detect")

    with pytest.raises(NotImplementedError, match="keeps 0 entries for 1 images"):
        collect(validator, answers("detect", batch), batch)

    assert validator.seen == 1


# Between ranks


@pytest.fixture
def ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[MistakeCollector]]:
    """The collectors of three ranks that have evaluated two images each: rank 1 has the worst."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    monkeypatch.setattr(mistake_collector, "GATHER_TIMEOUT", 1.0)
    collectors = []
    for rank, counts in enumerate(((5, 1), (9, 8), (3, 2))):
        collector = MistakeCollector(3, Topology(rank, rank, 3, 3, 0, 1))
        collector.store = RankStore("training")
        validator = make_validator("detect", tmp_path)
        validator.dataloader = [None, None]
        collector.attach(validator)
        for validator.batch_i, count in enumerate(counts):
            validator.update_metrics(*with_mistakes(count))
        collectors.append(collector)
    RankStore("training").wait([f"mistakes/{rank}" for rank in range(3)], 5)  # as the validators' gathering sees to it
    yield collectors
    del store


def test_rank_0_gets_the_worst_images_of_all_ranks_and_others_send_no_more(ranks: list[MistakeCollector]) -> None:
    for collector in ranks[1:]:
        collector.publish()

    assert [each.name for each in ranks[0].gather()] == ["9.jpg", "8.jpg", "5.jpg"]
    places = [f"mistakes/{rank}/{place}" for rank in (1, 2) for place in (0, 1)]
    assert set(RankStore("training").read(places, 5)) == {"mistakes/1/0", "mistakes/1/1"}


@pytest.mark.timeout(60)
def test_rank_that_does_not_send_its_images_is_left_out_after_a_bounded_time(ranks: list[MistakeCollector]) -> None:
    assert [each.name for each in ranks[0].gather()] == ["5.jpg"]


# What W&B shows


@pytest.mark.parametrize("task", VALIDATORS)
def test_table_shows_labels_and_predictions_over_the_same_picture(task: str, tmp_path: Path) -> None:
    batch = labels(task)
    found = collect(make_validator(task, tmp_path), answers(task, batch), batch)

    table = mistakes_table(found, NAMES, task)
    ((image, *numbers),), files = stored(table)

    assert table.columns == ["Image", "File", "Mistakes", "Missed", "Wrong", "Right", "Surest wrong"]
    assert numbers == ["images/val/a.jpg", 1, 0, 1, 2, 0.7]
    assert json.loads(files[image["classes"]["path"]])["class_set"] == [
        {"id": 1, "name": "cat"},
        {"id": 2, "name": "dog"},
        {"id": 3, "name": "fox"},
    ]
    boxes = image.get("boxes", {})
    assert set(boxes) == (set() if task == "obb" else {"ground_truth", "predictions"})
    if boxes:
        assert [box["box_caption"] for box in boxes["ground_truth"]] == ["cat", "dog"]
        assert [box["box_caption"] for box in boxes["predictions"]] == ["cat 0.90", "dog 0.80", "fox 0.70 wrong"]
        assert boxes["predictions"][2]["scores"] == {"confidence": 0.7, "right": 0}
        assert boxes["ground_truth"][0]["position"] == {"minX": 0.125, "minY": 0.125, "maxX": 0.375, "maxY": 0.375}
    masks = image.get("masks", {})
    assert set(masks) == (set() if task == "detect" else {"ground_truth", "predictions"})
    for key, mask in masks.items():
        pixels = np.asarray(Image.open(io.BytesIO(files[mask["path"]])))
        assert pixels.shape == (64, 64)
        assert {0, 2} <= set(np.unique(pixels)) <= ({0, 1, 2} if key == "ground_truth" else {0, 1, 2, 3})


def test_classes_beyond_what_masks_can_hold_are_numbered_anew() -> None:
    names = {index: f"class {index}" for index in range(1203)}
    found = mistake("a")
    found.truth = ImageAnnotations(
        np.array([1200, 7]), boxes=np.zeros((2, 4)), mask=np.array([[1201, 8], [0, 0]], np.uint16)
    )

    ((image, *_),), files = stored(mistakes_table([found], names, "segment"))

    class_set = json.loads(files[image["classes"]["path"]])["class_set"]
    assert {each["id"]: each["name"] for each in class_set} == {1: "class 7", 2: "class 1200"}
    pixels = np.asarray(Image.open(io.BytesIO(files[image["masks"]["ground_truth"]["path"]])))
    assert (pixels[0, 0], pixels[0, -1], pixels[-1, 0]) == (2, 1, 0)


def test_pictures_of_two_tables_are_the_same_files(tmp_path: Path) -> None:
    batch = labels("detect")

    tables = [
        mistakes_table(collect(make_validator("detect", tmp_path), answers("detect", batch), batch), NAMES, "detect")
        for _ in range(2)
    ]
    first, second = ({path for path in stored(table)[1] if path.endswith(".jpg")} for table in tables)

    assert len(first) == 1
    assert first == second


def test_model_without_mistakes_has_no_table() -> None:
    assert mistakes_table([], NAMES, "detect") is None
