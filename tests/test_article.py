"""The article's training example runs as written."""

import numpy as np
import segmentation_models_pytorch as smp
import torch
from torch import optim

from experiments.data.controlled import scene
from losses import DiceLoss


def test_the_articles_loop_lowers_the_loss_and_raises_the_dice_score():
    torch.manual_seed(0)
    pairs = [scene(np.random.default_rng(i), 32, 0.2, "large") for i in range(8)]
    inputs = torch.tensor(np.stack([image for image, _ in pairs])[:, None] / 255).float()
    labels = torch.tensor(np.stack([mask for _, mask in pairs])[:, None]).float()
    model = smp.Unet(
        "tu-test_resnet",
        encoder_weights=None,
        encoder_depth=3,
        decoder_channels=(32, 16, 8),
        in_channels=1,
    )

    def dice_score():
        model.eval()
        with torch.no_grad():
            predicted = model(inputs) > 0
        model.train()
        return (2 * (predicted * labels).sum() / (predicted.sum() + labels.sum())).item()

    before = dice_score()
    loss_fn = DiceLoss()
    optimizer = optim.Adam(model.parameters(), lr=0.001)
    history = []
    for _ in range(100):
        outputs = model(inputs)
        loss = loss_fn(outputs, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.5 * history[0]
    assert dice_score() > before + 0.3
