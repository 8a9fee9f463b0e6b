"""A route's fields over a directory's profile."""

from router.recipients import Device, Recipient, merge

PROFILE = Recipient(
    "u-1",
    email="old@example.ru",
    name="Anna",
    locale="ru",
    devices=(Device("d", "t", "ios"),),
    attributes={"city": "Omsk", "tier": 1},
    preferences={"news": False},
)


def test_fields_of_the_route_win():
    merged = merge({"email": "new@example.ru", "city": "Tomsk"}, PROFILE)
    assert merged.email == "new@example.ru"
    assert merged.name == "Anna"
    assert merged.attributes == {"city": "Tomsk", "tier": 1}
    assert merged.devices == PROFILE.devices


def test_what_the_event_lacks_stays_with_the_profile():
    assert merge({"email": None, "name": "", "city": None, "devices": []}, PROFILE) == PROFILE


def test_without_a_profile_the_route_says_it_all():
    assert merge({"id": "u-2", "email": "a@b.ru"}, None) == Recipient("u-2", email="a@b.ru")


def test_whole_numbers_become_text_and_nothing_else_does():
    merged = merge({"id": 7, "telegram": -100, "email": 1.5, "name": ["x"], "locale": True}, None)
    assert (merged.id, merged.telegram) == ("7", "-100")
    assert (merged.email, merged.name, merged.locale) == (None, None, None)


def test_a_locale_is_spelt_as_a_language_tag():
    assert merge({"id": "u", "locale": "pt_BR"}, None).locale == "pt-BR"


def test_without_an_id_the_first_address_serves():
    assert merge({"email": "a@b.ru", "telegram": 5}, None).id == "a@b.ru"
    assert merge({"telegram": 5}, None).id == "5"
    assert merge({"devices": "tok"}, None).id == "tok"
    assert merge({}, None).id == ""


def test_devices_come_as_tokens_or_maps():
    entries = [
        "tok-1",
        {"token": "tok-2", "id": 9, "platform": "iOS", "registered_at": 5, "app": "shop"},
        {"token": ""},
        {"platform": "ios"},
        None,
        {"token": "tok-3", "registered_at": "x"},
    ]
    assert merge({"id": "u", "devices": entries}, PROFILE).devices == (
        Device("tok-1", "tok-1", ""),
        Device("9", "tok-2", "ios", app="shop", registered_at=5.0),
        Device("tok-3", "tok-3", ""),
    )


def test_preferences_add_to_the_profiles():
    merged = merge({"preferences": {"sales/email": True, "odd": "yes"}}, PROFILE)
    assert merged.preferences == {"news": False, "sales/email": True}
