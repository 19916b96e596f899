"""DQ-VAE as published (CVPR 2023, arXiv 2305.11718): one grain per region, one shared codebook."""

from dqcodec.models.paper.config import PaperConfig
from dqcodec.models.paper.dqvae import PaperCodes, PaperDQVAE

__all__ = ["PaperCodes", "PaperConfig", "PaperDQVAE"]
