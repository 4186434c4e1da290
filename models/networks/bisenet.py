"""BiSeNet as face-parsing.PyTorch has it: a photo to a class for each pixel (Yu et al. 2018, arXiv:1808.00897).

The names of layers and parameters are that project's, so that its published weights (79999_iter.pth) load as they are.
"""
from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of RGB in [0, 1]


def imagenet_colors(image: torch.Tensor) -> torch.Tensor:
    """(N, 3 or 1, H, W) in [-1, 1] -> (N, 3, H, W) normalised by ImageNet's mean and standard deviation."""
    mean, deviation = (image.new_tensor(values)[:, None, None] for values in (_MEAN, _DEVIATION))
    return (image / 2 + 0.5 - mean) / deviation


class BatchNorm(nn.BatchNorm2d):
    """Batch norm that uses its running statistics where a batch has only one value a channel, whose variance is undefined.

    So a batch of one picture can be trained on, whose globally pooled features are 1x1.
    """

    def forward(self, x):
        """(N, C, H, W) -> the same shape."""
        if self.training and x.shape[0] * x.shape[2] * x.shape[3] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class ConvBNReLU(nn.Module):
    """Convolution without bias, batch norm, ReLU."""

    def __init__(self, in_nc: int, out_nc: int, kernel: int = 3):
        super().__init__()
        self.conv = nn.Conv2d(in_nc, out_nc, kernel, padding=kernel // 2, bias=False)
        self.bn = BatchNorm(out_nc)

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H, W)."""
        return F.relu(self.bn(self.conv(x)))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a shortcut (He et al. 2016)."""

    def __init__(self, in_nc: int, out_nc: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(in_nc, out_nc, 3, stride, 1, bias=False)
        self.bn1 = BatchNorm(out_nc)
        self.conv2 = nn.Conv2d(out_nc, out_nc, 3, 1, 1, bias=False)
        self.bn2 = BatchNorm(out_nc)
        self.downsample = None
        if stride > 1 or in_nc != out_nc:
            self.downsample = nn.Sequential(nn.Conv2d(in_nc, out_nc, 1, stride, bias=False), BatchNorm(out_nc))

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H / stride, W / stride), rounded up."""
        short = x if self.downsample is None else self.downsample(x)
        return F.relu(short + self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x))))))


class ResNet18(nn.Module):
    """ResNet-18 without its classifier, named as torchvision names it."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = BatchNorm(64)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        widths = (64, 64, 128, 256, 512)
        for i in range(1, 5):
            blocks = BasicBlock(widths[i - 1], widths[i], 1 if i == 1 else 2), BasicBlock(widths[i], widths[i], 1)
            setattr(self, f"layer{i}", nn.Sequential(*blocks))

    def forward(self, x):
        """(N, 3, H, W) -> features at 1/8 (128 channels), 1/16 (256) and 1/32 (512) of the size, rounded up."""
        x = self.layer1(self.maxpool(F.relu(self.bn1(self.conv1(x)))))
        eighth = self.layer2(x)
        sixteenth = self.layer3(eighth)
        return eighth, sixteenth, self.layer4(sixteenth)


class AttentionRefinement(nn.Module):
    """A convolution with channel attention from globally pooled features."""

    def __init__(self, in_nc: int, out_nc: int):
        super().__init__()
        self.conv = ConvBNReLU(in_nc, out_nc)
        self.conv_atten = nn.Conv2d(out_nc, out_nc, 1, bias=False)
        self.bn_atten = BatchNorm(out_nc)

    def forward(self, x):
        """(N, C, H, W) -> (N, C', H, W)."""
        x = self.conv(x)
        return x * torch.sigmoid(self.bn_atten(self.conv_atten(_average(x))))


class ContextPath(nn.Module):
    """ResNet-18, and context features that are refined from coarse to fine."""

    def __init__(self):
        super().__init__()
        self.resnet = ResNet18()
        self.arm16 = AttentionRefinement(256, 128)
        self.arm32 = AttentionRefinement(512, 128)
        self.conv_head32 = ConvBNReLU(128, 128)
        self.conv_head16 = ConvBNReLU(128, 128)
        self.conv_avg = ConvBNReLU(512, 128, kernel=1)

    def forward(self, x):
        """(N, 3, H, W) -> the 1/8 feature (128 channels), and the context at 1/8 and at 1/16 (128 channels each)."""
        eighth, sixteenth, last = self.resnet(x)
        context = self.arm32(last) + self.conv_avg(_average(last))
        context16 = self.conv_head32(_enlarge(context, sixteenth))
        context8 = self.conv_head16(_enlarge(self.arm16(sixteenth) + context16, eighth))
        return eighth, context8, context16


class FeatureFusion(nn.Module):
    """Fuses detail and context features, with channel attention from globally pooled features."""

    def __init__(self, in_nc: int, out_nc: int):
        super().__init__()
        self.convblk = ConvBNReLU(in_nc, out_nc, kernel=1)
        self.conv1 = nn.Conv2d(out_nc, out_nc // 4, 1, bias=False)
        self.conv2 = nn.Conv2d(out_nc // 4, out_nc, 1, bias=False)

    def forward(self, detail, context):
        """Two (N, C, H, W) -> (N, C', H, W)."""
        x = self.convblk(torch.cat([detail, context], 1))
        return x * torch.sigmoid(self.conv2(F.relu(self.conv1(_average(x))))) + x


class Head(nn.Module):
    """A segmentation head: features to class scores."""

    def __init__(self, in_nc: int, mid_nc: int, classes: int):
        super().__init__()
        self.conv = ConvBNReLU(in_nc, mid_nc)
        self.conv_out = nn.Conv2d(mid_nc, classes, 1, bias=False)

    def forward(self, x):
        """(N, C, H, W) -> (N, classes, H, W)."""
        return self.conv_out(self.conv(x))


class BiSeNet(nn.Module):
    """The face parser: 13.30 M parameters with 19 classes, 191 tensors in its state dict."""

    def __init__(self, classes: int = 19):
        super().__init__()
        self.cp = ContextPath()
        self.ffm = FeatureFusion(256, 256)
        self.conv_out = Head(256, 256, classes)
        self.conv_out16 = Head(128, 64, classes)
        self.conv_out32 = Head(128, 64, classes)

    def forward(self, x, auxiliary: bool = True):
        """(N, 3, H, W) of `imagenet_colors`, any size -> (main, auxiliary, auxiliary), each (N, classes, H, W) scores.

        auxiliary: False leaves out the two heads that only training needs and gives (main,).
        """
        eighth, context8, context16 = self.cp(x)
        scores = [self.conv_out(self.ffm(eighth, context8))]
        if auxiliary:
            scores += [self.conv_out16(context8), self.conv_out32(context16)]
        return tuple(F.interpolate(s.float(), x.shape[2:], mode="bilinear", align_corners=True) for s in scores)

    @torch.no_grad()
    def init_weights(self):
        """Kaiming normal for convolutions (with negative slope 1, as in the original), 1 and 0 for batch norm."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, a=1)
            elif isinstance(module, nn.BatchNorm2d):
                module.reset_parameters()

    def parameter_groups(self) -> tuple[list, list, list, list]:
        """(weights, biases and norms) of the context path, then the same of fusion and heads."""
        groups = ([], [], [], [])
        for name, p in self.named_parameters():
            groups[2 * (not name.startswith("cp.")) + (p.ndim == 1)].append(p)
        return groups


def _average(x: torch.Tensor) -> torch.Tensor:
    return x.mean((2, 3), keepdim=True)


def _enlarge(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """Nearest neighbour to the size of another feature map, which is not always twice as large, as sizes are rounded up."""
    return F.interpolate(x, like.shape[2:], mode="nearest")
