"""Mult-VAE: the contract in both modes."""

from contract import ModelContract, RankingContract

SMALL = {"hidden": 16, "latent": 6, "epochs": 60, "batch_users": 20, "learning_rate": 0.01}


class TestRating(ModelContract):
    model = "mult_vae"
    settings = SMALL


class TestRanking(RankingContract):
    model, preset = "mult_vae", "ranking"
    settings = SMALL
