"""The postures of the environment ladder: a wrong place refuses to start and says everything that is wrong."""

from hashlib import sha256

import pytest

from spine.settings import PostureError, Settings, Timeouts, load_settings, posture_reasons

IMAGE = "registry.example/fraud@sha256:" + sha256(b"image").hexdigest()
RIGHT = {
    "FP_ENV": "dev_full",
    "FP_RELEASE_ID": "r-2026.01",
    "FP_IMAGE": IMAGE,
    "FP_KAFKA_BOOTSTRAP": "b-1.msk.example:9098,b-2.msk.example:9098",
    "FP_KAFKA_SECURITY": "SASL_IAM",
    "FP_KAFKA_REGION": "eu-west-2",
    "FP_DATABASE_URL": "postgresql://df:hunter2@aurora.example/fp?sslmode=verify-full",
    "FP_HTTP_PORT": "8080",
    "FP_TOKEN_SECRET": "open-sesame",
    "FP_PROVIDER_URL": "https://provider.example",
    "FP_LABEL_STORE_URL": "https://labels.example",
}


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment in which nothing is wrong."""
    for name, value in RIGHT.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _reasons() -> list[str]:
    with pytest.raises(PostureError) as refused:
        load_settings()
    assert all(reason in str(refused.value) for reason in refused.value.reasons)
    return refused.value.reasons


@pytest.mark.parametrize("rung", ["dev_full", "prod_target"])
def test_a_right_place_starts(place: pytest.MonkeyPatch, rung: str) -> None:
    place.setenv("FP_ENV", rung)
    assert load_settings().env.value == rung


def test_everything_wrong_is_named_at_once(place: pytest.MonkeyPatch) -> None:
    wrong = {
        "FP_RELEASE_ID": "latest",
        "FP_IMAGE": "registry.example/fraud:latest",
        "FP_KAFKA_BOOTSTRAP": "b-1.msk.example:9098,127.0.0.1:9092",
        "FP_KAFKA_SECURITY": "PLAINTEXT",
        "FP_KAFKA_REGION": "",
        "FP_DATABASE_URL": "postgresql://df:hunter2@localhost/fp",
        "FP_PROVIDER_URL": "http://provider.example",
        "FP_LABEL_STORE_URL": "http://[::1]:9000",
        "FP_FAULTS": "kill",
        "FP_TOPIC_PREFIX": "t1.",
        "FP_TIMEOUT_LOCK": "9",
    }
    for name, value in wrong.items():
        place.setenv(name, value)
    reasons = _reasons()
    expected = [
        ("FP_TIMEOUT_LOCK=9", "below FP_TIMEOUT_STATEMENT"),
        ("FP_RELEASE_ID", "latest"),
        ("FP_IMAGE", "latest"),
        ("FP_FAULTS", "local_parity"),
        ("FP_TOPIC_PREFIX", "t1."),
        ("FP_KAFKA_BOOTSTRAP", "127.0.0.1"),
        ("FP_DATABASE_URL", "localhost"),
        ("FP_LABEL_STORE_URL", "::1"),
        ("FP_KAFKA_SECURITY", "SASL_IAM"),
        ("FP_KAFKA_REGION", "empty"),
        ("FP_IMAGE", "digest"),
        ("FP_DATABASE_URL", "sslmode"),
        ("FP_PROVIDER_URL", "https"),
        ("FP_LABEL_STORE_URL", "https"),
    ]
    for name, word in expected:
        assert [r for r in reasons if name in r and word in r], (name, word)
    assert len(reasons) == len(expected)
    assert not any("hunter2" in reason or "open-sesame" in reason for reason in reasons)


@pytest.mark.parametrize(
    ("name", "value", "word"),
    [
        ("FP_KAFKA_SECURITY", "PLAINTEXT", "SASL_IAM"),
        ("FP_KAFKA_REGION", "", "region"),
        ("FP_KAFKA_BOOTSTRAP", "[::1]:9098", "::1"),
        ("FP_KAFKA_BOOTSTRAP", "0.0.0.0:9098", "0.0.0.0"),
        ("FP_KAFKA_BOOTSTRAP", "LOCALHOST:9098", "LOCALHOST"),
        ("FP_PROVIDER_URL", "https://127.8.9.1", "127.8.9.1"),
        ("FP_IMAGE", "", "digest"),
        ("FP_IMAGE", "registry.example/fraud:1.2", "digest"),
        ("FP_IMAGE", IMAGE[:-1], "digest"),
        ("FP_DATABASE_URL", "postgresql://df@aurora.example/fp?sslmode=require", "sslmode"),
        ("FP_DATABASE_URL", "postgresql://df@aurora.example/fp?notsslmode=verify-full", "sslmode"),
        ("FP_PROVIDER_URL", "http://provider.example", "https"),
        ("FP_FAULTS", "kill", "FP_FAULTS"),
        ("FP_TOPIC_PREFIX", "t1.", "FP_TOPIC_PREFIX"),
        ("FP_RELEASE_ID", "fraud-latest", "latest"),
    ],
)
def test_each_rule_stands_alone(place: pytest.MonkeyPatch, name: str, value: str, word: str) -> None:
    place.setenv(name, value)
    (reason,) = _reasons()
    assert reason.startswith(name)
    assert word in reason


def test_lower_rungs_allow_what_their_substrate_is(place: pytest.MonkeyPatch) -> None:
    for name, value in {"FP_KAFKA_SECURITY": "PLAINTEXT", "FP_KAFKA_BOOTSTRAP": "localhost:9092", "FP_FAULTS": "kill"}.items():
        place.setenv(name, value)
    place.setenv("FP_ENV", "local_parity")
    assert posture_reasons(load_settings()) == []
    place.setenv("FP_ENV", "dev_min")
    (reason,) = _reasons()
    assert "FP_FAULTS" in reason
    place.setenv("FP_ENV", "local_parity")
    place.setenv("FP_RELEASE_ID", "latest")
    assert len(_reasons()) == 1


def test_timeouts_rise_strictly() -> None:
    assert Timeouts().disorder() == []
    (equal,) = Timeouts(drain=5.0, lease=5.0).disorder()
    assert "FP_TIMEOUT_DRAIN=5" in equal
    assert "FP_TIMEOUT_LEASE=5" in equal
    assert Timeouts(lock=9, lease=1).disorder() == [
        "FP_TIMEOUT_LOCK=9 must be below FP_TIMEOUT_STATEMENT=2.5",
        "FP_TIMEOUT_DRAIN=4 must be below FP_TIMEOUT_LEASE=1",
    ]
    assert len(Timeouts(lock=5, statement=4, idle_in_transaction=3, drain=2, lease=1).disorder()) == 4


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("FP_DATABASE_URL", "postgresql://df:other@elsewhere.example/fp?sslmode=verify-full"),
        ("FP_TOKEN_SECRET", "another"),
        ("FP_KAFKA_BOOTSTRAP", "b-9.msk.example:9098"),
        ("FP_HTTP_PORT", "8081"),
        ("FP_PROVIDER_URL", "https://other.example"),
        ("FP_OTLP_FILE", "/tmp/spans"),
    ],
)
def test_a_move_or_a_rotated_secret_leaves_the_digest(place: pytest.MonkeyPatch, name: str, value: str) -> None:
    before = load_settings().config_digest()
    place.setenv(name, value)
    assert load_settings().config_digest() == before


@pytest.mark.parametrize(
    ("name", "value"),
    [("FP_BATCH_MAX", "7"), ("FP_BREAKER_RATIO", "0.25"), ("FP_TIMEOUT_LEASE", "6"), ("FP_ENV", "prod_target"), ("FP_PHASE_ID", "P7")],
)
def test_a_change_of_behaviour_is_another_digest(place: pytest.MonkeyPatch, name: str, value: str) -> None:
    before = load_settings().config_digest()
    place.setenv(name, value)
    assert load_settings().config_digest() != before


def test_secrets_are_in_no_text_of_the_settings(place: pytest.MonkeyPatch) -> None:
    settings = Settings()
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert "eu-west-2" in shown
    assert "hunter2" not in shown
    assert "open-sesame" not in shown
