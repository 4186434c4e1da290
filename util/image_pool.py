"""A history of generated pictures for the discriminator."""
from __future__ import annotations

import torch


class ImagePool:
    """Keeps up to pool_size pictures; a query returns each new picture or, with probability 1/2, an older one in its place.

    Shrivastava et al. 2017, section 2.3. With pool_size 0 a query returns the new pictures. Random numbers come from torch's
    global generator, whose state is saved in checkpoints.
    """

    def __init__(self, pool_size: int):
        self.pool_size = pool_size
        self.images: list[torch.Tensor] = []

    def query(self, images: torch.Tensor) -> torch.Tensor:
        """(N, C, H, W) new pictures -> as many pictures, some of them older; no gradient flows through older ones."""
        if self.pool_size == 0:
            return images
        return torch.cat([self._one(image) for image in images.split(1)])

    def _one(self, image: torch.Tensor) -> torch.Tensor:
        if len(self.images) < self.pool_size:
            self.images.append(image.detach().clone())
            return image
        if torch.rand(()) <= 0.5:
            return image
        place = int(torch.randint(self.pool_size, ()))
        older, self.images[place] = self.images[place], image.detach().clone()
        return older
