"""From names and values to a config and a plan."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyvae.errors import ConfigError
from hyvae.models.bias import Bias
from hyvae.models.hyvae import HyVAE
from hyvae.models.settings import configure, parse_setting


def test_no_settings_give_the_preset():
    assert configure(HyVAE, "paper", {}) == tuple(HyVAE.presets["paper"])


def test_settings_reach_the_config_and_the_plan():
    config, plan = configure(HyVAE, "default", {"latent": 7, "learning_rate": 0.5})
    assert config.latent == 7
    assert plan.learning_rate == 0.5


def test_other_fields_keep_the_presets_values():
    config, plan = configure(HyVAE, "paper", {"latent": 7, "epochs": 3})
    paper, paper_plan = HyVAE.presets["paper"]
    assert config == paper.model_copy(update={"latent": 7})
    assert plan == paper_plan.model_copy(update={"epochs": 3})


def test_text_becomes_the_fields_type():
    config, plan = configure(HyVAE, "default", {"latent": "7", "deep_layers": ("4", "5"), "presence": "false"})
    assert (config.latent, config.deep_layers, config.presence) == (7, (4, 5), False)
    assert configure(HyVAE, "default", {"epochs": "3"})[1].epochs == 3
    assert plan == HyVAE.presets["default"].plan


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"latend": 7}, "no setting 'latend'; did you mean 'latent'"),
        ({"learningrate": 1}, "did you mean 'learning_rate'"),
        ({"zzz": 1}, "no setting 'zzz'; there are: .*latent.*epochs"),
        ({"latent": "many"}, "hyvae: latent: .*'many'"),
        ({"latent": 0}, "latent: .*greater than 0"),
        ({"epochs": -1}, "epochs: "),
        ({"activation": "sigmoid"}, "activation: .*'relu', 'selu' or 'tanh'"),
        ({"deep_layers": ()}, "deep_layers"),
        ({"hide": 1.0}, "hide: "),
    ],
)
def test_bad_settings_are_named(settings, message):
    with pytest.raises(ConfigError, match=message):
        configure(HyVAE, "default", settings)


def test_an_error_message_is_one_line():
    with pytest.raises(ConfigError) as error:
        configure(HyVAE, "default", {"latent": "many"})
    assert "\n" not in str(error.value)


def test_an_unknown_preset_is_refused_by_name():
    with pytest.raises(ConfigError, match="no preset 'papr'; there are: default, fast, paper"):
        configure(HyVAE, "papr", {})


def test_another_models_setting_is_unknown():
    with pytest.raises(ConfigError, match="bias has no setting 'latent'"):
        configure(Bias, "default", {"latent": 7})


def test_configs_cannot_be_changed():
    config, plan = configure(HyVAE, "default", {})
    for frozen, name in ((config, "latent"), (plan, "epochs")):
        with pytest.raises(ValueError, match="frozen"):
            setattr(frozen, name, 3)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("latent=7", ("latent", "7")),
        ("decoder=none", ("decoder", None)),
        ("decoder=NULL", ("decoder", None)),
        ("deep_layers=4,5", ("deep_layers", ("4", "5"))),
        ("a=b=c", ("a", "b=c")),
        ("a=", ("a", "")),
    ],
)
def test_parse_setting(text, wanted):
    assert parse_setting(text) == wanted


@pytest.mark.parametrize("text", ["latent", "=7", ""])
def test_parse_setting_refuses_what_has_no_key_or_value(text):
    with pytest.raises(ConfigError, match="key=value"):
        parse_setting(text)


@settings(deadline=None)
@given(st.integers(1, 10**6))
def test_a_parsed_number_configures(latent):
    key, value = parse_setting(f"latent={latent}")
    assert configure(HyVAE, "default", {key: value})[0].latent == latent


def test_one_layer_can_be_typed():
    key, value = parse_setting("deep_layers=64")
    assert configure(HyVAE, "default", {key: value})[0].deep_layers == (64,)
