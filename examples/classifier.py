"""Train a classifier of digits as a simulation that is watched and asked: [DIRECTORY]."""

import sys
from pathlib import Path

import numpy as np
import torch

import simgit
from simgit.live import Control, Tracker
from simgit.plot.notebook import png

GLYPHS = (31599, 11415, 29671, 29647, 23497, 31183, 31215, 29257, 31727, 31695)  # 3 × 5 bits


def draw(count: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor]:
    """Return noisy pictures of digits, shape (count, 1, 9, 9), and the digits."""
    digits = torch.randint(10, (count,), generator=generator)
    dots = torch.tensor([[int(bit) for bit in f"{glyph:015b}"] for glyph in GLYPHS])
    pictures = 0.2 * torch.randn(count, 1, 9, 9, generator=generator)
    places = torch.randint(5, (count, 2), generator=generator).tolist()
    for picture, digit, (y, x) in zip(pictures, digits, places, strict=True):
        picture[0, y : y + 5, x : x + 3] += dots[digit].reshape(5, 3)
    return pictures, digits


def classify(control: Control) -> None:
    """Train a network on batches, one a step; validate, test, and show what it takes for what."""
    config, seed = control.config, control.seed or 0
    torch.manual_seed(seed)
    layers = torch.nn.Conv2d(1, 16, (5, 3)), torch.nn.ReLU(), torch.nn.Flatten()
    model = control.model = torch.nn.Sequential(*layers, torch.nn.Linear(16 * 35, 10))
    optimizer = torch.optim.SGD(model.parameters(), config["lr"])
    generator = torch.Generator().manual_seed(seed)
    valid = draw(500, torch.Generator().manual_seed(1))
    if control.resumed is not None:
        weights = control.resumed["weights"].items()
        model.load_state_dict({name: torch.from_numpy(each.copy()) for name, each in weights})
        generator.set_state(torch.from_numpy(control.resumed["generator"].copy()))
    control.checkpoint(lambda: {
        "weights": {name: each.numpy().copy() for name, each in model.state_dict().items()},
        "generator": generator.get_state().numpy().copy(),
    })  # fmt: skip

    def accuracy(pictures: torch.Tensor, digits: torch.Tensor) -> float:
        return float((model(pictures).argmax(1) == digits).float().mean())

    recorder = control.recorder()
    if not control.position:
        recorder.append(np.float32([0.0]), reset={"seed": seed})
    for step in control.range("steps", stage="train"):
        pictures, digits = draw(64, generator)
        loss = torch.nn.functional.cross_entropy(model(pictures), digits)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        recorder.append(np.float32([loss.item()]), step, accuracy(pictures, digits))
        if step % 50 == 49:
            right = accuracy(*valid)
            control.metrics({"loss": loss.item(), "accuracy": right})
            row = torch.cat(list(valid[0][:10, 0]), 1).clamp(0, 1).mul(255).byte().numpy()
            control.attach("examples.png", png(row.repeat(4, 0).repeat(4, 1)[:, :, None]))
            control.log(f"step {step + 1}: {right:.1%} of 500 pictures are right")


def infer(control: Control, pictures: list[list[list[float]]]) -> list[int]:
    """Return the digits that the network sees in pictures, shape (count, 9, 9)."""
    return control.model(torch.tensor(pictures)[:, None].float()).argmax(1).tolist()


classify.defaults = {"steps": 300, "lr": 0.3}
classify.queries = {"infer": infer}

if __name__ == "__main__":
    directory = sys.argv[1] if len(sys.argv) > 1 else "classifier"
    simgit.Repository.init(directory).close()
    with Tracker(directory) as tracker:
        one = tracker.start(f"{Path(__file__).resolve()}:classify", run="digits", seed=1)
        print(one.wait(300), *one.lines()[0], sep="\n")
