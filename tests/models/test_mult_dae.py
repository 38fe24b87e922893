"""Mult-DAE: the contract in both modes."""

from contract import ModelContract, RankingContract

SMALL = {"latent": 12, "epochs": 60, "batch_users": 20, "learning_rate": 0.01}


class TestRating(ModelContract):
    model = "mult_dae"
    settings = SMALL


class TestRanking(RankingContract):
    model, preset = "mult_dae", "ranking"
    settings = SMALL
