"""Losses, against their formulas written out."""
import urllib.error

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from models.diffaug import DiffAugment
from models.losses.feature_matching import FeatureMatchingLoss
from models.losses.gan import GANLoss
from models.losses.gradient_penalty import gradient_penalty
from models.losses.perceptual import VGG_WEIGHTS, PyramidLoss, VGGLoss
from models.losses.segmentation import IGNORED, SegmentationGANLoss, class_weights, label_mix, label_mix_loss
from models.losses.texture import texture_loss
from models.networks import vgg
from util.errors import UserError


def answers(scales=2, layers=3, seed=0, requires_grad=False):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.rand(2, 1, 4 + j, 4, generator=generator).requires_grad_(requires_grad) for j in range(layers)]
            for _ in range(scales)]


def test_least_squares_sums_over_scales_and_sees_only_the_answers():
    result = answers()
    got = GANLoss()(result, True)
    assert got == pytest.approx(sum(((s[-1] - 1) ** 2).mean().item() for s in result), rel=1e-6)
    assert GANLoss()(result, False) == pytest.approx(sum((s[-1] ** 2).mean().item() for s in result), rel=1e-6)


def test_cross_entropy_of_probabilities():
    result = answers()
    wanted = sum(-torch.log(1 - s[-1]).mean().item() for s in result)
    assert GANLoss(use_lsgan=False)(result, False) == pytest.approx(wanted, rel=1e-5)


@pytest.mark.parametrize("mode, of_d, of_g", [
    ("hinge", lambda f, r: F.relu(1 - r).mean() + F.relu(1 + f).mean(), lambda f, r: -f.mean()),
    ("relativistic", lambda f, r: -F.logsigmoid(r - f).mean(), lambda f, r: -F.logsigmoid(f - r).mean()),
    ("lsgan", lambda f, r: ((r - 1) ** 2).mean() + (f ** 2).mean(), lambda f, r: ((f - 1) ** 2).mean())])
def test_adversarial_losses_are_those_of_the_papers(mode, of_d, of_g):
    fake, real, loss = answers(seed=1), answers(seed=2), GANLoss(mode=mode)
    pairs = [(f[-1] * 3 - 1, r[-1] * 3 - 1) for f, r in zip(fake, real)]
    fake, real = ([[one] for one in side] for side in zip(*pairs))
    assert sum(loss.discriminator(fake, real).values()).item() == pytest.approx(sum(of_d(*p).item() for p in pairs), rel=1e-5)
    assert loss.generator(fake, real).item() == pytest.approx(sum(of_g(*p).item() for p in pairs), rel=1e-5)


def test_the_gradient_penalty_of_a_linear_critic_is_its_squared_norm_whatever_the_size():
    weight = torch.randn(3, requires_grad=True)
    for side in (4, 8):
        found = gradient_penalty(lambda x: [(x * weight[:, None, None]).sum(1, keepdim=True)], torch.rand(2, 3, side, side))
        assert found.item() == pytest.approx(weight.square().sum().item(), rel=1e-5)
    found.backward()
    torch.testing.assert_close(weight.grad, 2 * weight.detach())


def test_rare_classes_weigh_more_up_to_a_bound_and_each_picture_by_itself():
    labels = torch.zeros(2, 8, 8, dtype=torch.long)
    labels[0, :2], labels[0, 7, 7], labels[1, :4] = 1, 2, IGNORED
    weights = class_weights(labels, 4)
    assert weights[0, :3].tolist() == pytest.approx([64 / 47 / 3, 64 / 16 / 3, 8]) and weights[1, 0] == 64 / 32
    scores, loss = torch.randn(2, 5, 8, 8), SegmentationGANLoss()
    for got, target, weigh in ((loss.of_classes(scores, labels), labels.clamp_min(0), True),
                               (loss.of_drawn(scores, labels), torch.full_like(labels, 4), False)):
        each = F.cross_entropy(scores, target, reduction="none") * (labels != IGNORED)
        each = each * torch.stack([w[one.clamp_min(0)] for w, one in zip(class_weights(labels, 5), labels)]) if weigh else each
        assert got.item() == pytest.approx(each.mean().item(), rel=1e-5)
        parts = [(loss.of_classes if weigh else loss.of_drawn)(scores[i:i + 1], labels[i:i + 1]).item() for i in range(2)]
        assert got.item() == pytest.approx(sum(parts) / 2, rel=1e-5), "a batch's loss is the mean of its pictures'"


def test_label_mix_takes_each_class_from_one_picture():
    labels = torch.randint(0, 6, (4, 8, 8))
    mixed, mask = label_mix(torch.ones(4, 3, 8, 8), torch.zeros(4, 3, 8, 8), labels, 6)
    assert torch.equal(mixed, mask.float().expand(-1, 3, -1, -1)) and 0 < mixed.mean() < 1
    assert all(mask[i, 0][labels[i] == c].unique().numel() <= 1 for i in range(4) for c in range(6))
    assert label_mix_loss(mask.float(), torch.ones(4, 1, 8, 8), torch.zeros(4, 1, 8, 8), mask) == 0


def test_augmentation_moves_picture_and_labels_alike_and_lets_gradients_through():
    torch.manual_seed(0)
    labels = torch.randint(1, 9, (6, 16, 24))
    image = (labels[:, None] / 10).float().requires_grad_()
    draw = DiffAugment.draw({"translation", "cutout"}, image)
    moved, picture = draw.labels(labels, IGNORED), draw.picture(image)
    torch.testing.assert_close(picture[:, 0], torch.where(moved == IGNORED, 0, moved / 10).float())
    assert 0.1 < (moved == IGNORED).float().mean() < 0.9
    picture.sum().backward()
    assert image.grad.abs().sum() > 0
    coloured = DiffAugment.draw({"color"}, image).picture(image)
    assert not torch.equal(coloured, image) and torch.equal(DiffAugment.draw({"color"}, image).labels(labels, 0), labels)


def test_feature_matching_weights_layers_and_scales_and_spares_the_real_picture():
    fake, real = answers(2, 5, 1, True), answers(2, 5, 2, True)
    got = FeatureMatchingLoss(n_layers=3, num_D=2)(fake, real)
    wanted = sum((a - b).abs().mean().item() for f, r in zip(fake, real) for a, b in zip(f[:-1], r[:-1])) * (4 / 4) / 2
    assert got.item() == pytest.approx(wanted, rel=1e-6)
    got.backward()
    assert all(t.grad is None for scale in real for t in scale)
    assert all(t.grad is not None for scale in fake for t in scale[:-1]) and fake[0][-1].grad is None


def test_pyramid_of_a_constant_difference_is_the_vgg_terms_total_weight():
    fake = torch.full((2, 3, 20, 12), 0.25, requires_grad=True)
    loss = PyramidLoss()(fake, torch.zeros(2, 3, 20, 12))
    assert loss.item() == pytest.approx(0.25 * sum(VGG_WEIGHTS), rel=1e-6)
    loss.backward()
    assert (fake.grad > 0).all()


def test_pyramid_forgives_fine_noise_more_than_wrong_colour():
    noise = torch.ones(1, 1, 16, 16)
    noise[..., ::2] = -1
    assert PyramidLoss()(noise, torch.zeros_like(noise)) < 0.3 * PyramidLoss()(torch.ones_like(noise), torch.zeros_like(noise))


class FiveMaps(nn.Module):
    """Stands for VGG: five maps, of which only the picked one depends on the picture."""

    def __init__(self, picked):
        super().__init__()
        self.picked = picked

    def forward(self, x):
        return [x * float(i == self.picked) for i in range(5)]


@pytest.mark.parametrize("layer", range(5))
def test_vgg_layers_weigh_more_the_deeper(layer):
    fake, real = torch.zeros(1, 3, 8, 8, requires_grad=True), torch.ones(1, 3, 8, 8, requires_grad=True)
    loss = VGGLoss(FiveMaps(layer))(fake, real)
    assert loss.item() == pytest.approx([1 / 32, 1 / 16, 1 / 8, 1 / 4, 1][layer])
    loss.backward()
    assert real.grad is None and fake.grad is not None


@pytest.fixture(scope="module")
def vgg_state():
    """VGG19's shapes with random weights, as torchvision saves them."""
    import torchvision
    with torch.device("meta"):
        net = torchvision.models.vgg19(weights=None, init_weights=False)
    generator = torch.Generator().manual_seed(0)
    return {k: torch.empty(v.shape).uniform_(-0.02, 0.03, generator=generator)
            for k, v in net.state_dict().items() if k.startswith("features.") and int(k.split(".")[1]) < 30}


def test_vgg_features_are_the_relus_of_the_five_stages(vgg_state, tmp_path):
    path = tmp_path / "vgg19.pth"
    torch.save(vgg_state, path)
    state, reason = vgg.find_weights(str(path))
    net = vgg.VGG19Features(state)
    assert reason == "" and not any(p.requires_grad for p in net.parameters())
    x = torch.rand(1, 3, 32, 32) * 2 - 1
    got, wanted, h = net(x), [], x
    for i in range(30):  # VGG19: convolutions and ReLUs in turn, a pooling after 2, 2, 4, 4 and 4 convolutions
        if f"features.{i}.weight" in vgg_state:
            h = F.relu(F.conv2d(h, vgg_state[f"features.{i}.weight"], vgg_state[f"features.{i}.bias"], padding=1))
            if i in (0, 5, 10, 19, 28):
                wanted.append(h)
        elif i in (4, 9, 18, 27):
            h = F.max_pool2d(h, 2)
    assert [tuple(t.shape) for t in got] == [tuple(t.shape) for t in wanted]
    for a, b in zip(got, wanted):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)
    grey = torch.rand(1, 1, 32, 32)
    assert torch.equal(net(grey)[0], net(grey.expand(-1, 3, -1, -1))[0])


def test_given_vgg_file_must_be_vgg(tmp_path):
    torch.save({"features.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    for name, said in (("other.pth", "VGG19"), ("none.pth", "no such file")):
        with pytest.raises(UserError, match=said):
            vgg.find_weights(str(tmp_path / name))


def test_weights_that_cannot_be_had_are_a_reason_not_an_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise urllib.error.URLError("no route")
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", refuse)
    state, reason = vgg.find_weights()
    assert state is None and "no route" in reason and str(tmp_path) in reason


def test_the_texture_loss_is_the_difference_of_contrast_in_each_class_at_two_sizes():
    """Columns that alternate differ by 2a from pixel to pixel at full size, and not at all at half size."""
    columns = torch.ones(32).cumsum(0) % 2 * 2 - 1
    labels = torch.zeros(2, 32, 32, dtype=torch.long)
    labels[:, 16:] = 2
    labels[1, 0, 0] = 1  # too small to have a texture
    fake, real = torch.zeros(2, 3, 32, 32), torch.zeros(2, 3, 32, 32)
    fake[0, :, 16:] = 0.3  # a jump between classes is no texture
    real[0, :, :16] = 0.1 * columns
    assert texture_loss(fake, real, labels, 3).item() == pytest.approx(0.2 / 2 / 2 / 2, rel=0.05), "sizes, classes, pictures"
    assert texture_loss(-real.roll(1, 3), real, labels, 3).item() == pytest.approx(0, abs=1e-6), "wherever its threads run"
    batch = texture_loss(fake, real, labels, 3)
    alone = [texture_loss(fake[i:i + 1], real[i:i + 1], labels[i:i + 1], 3) for i in range(2)]
    assert batch.item() == pytest.approx(sum(alone).item() / 2, rel=1e-6)


def test_the_texture_loss_teaches_a_plain_surface_contrast_and_takes_it_from_a_rough_one():
    torch.manual_seed(0)
    labels, rough = torch.zeros(1, 16, 16, dtype=torch.long), torch.randn(1, 3, 16, 16) * 0.1
    strength = torch.tensor(0.5, requires_grad=True)
    for real, sign in ((rough, -1), (rough * 0.1, 1)):
        gradient, = torch.autograd.grad(texture_loss(rough * strength, real, labels, 1), strength)
        assert gradient.sign() == sign
    still = torch.zeros(1, 3, 16, 16, requires_grad=True)
    texture_loss(still, rough, labels, 1).backward()
    assert torch.isfinite(still.grad).all()
