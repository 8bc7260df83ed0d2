"""Sixteen bytes a clip: look-ups, doubles, changes."""

import hashlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline import clip_hashes as module
from pipeline.manifest import ABSENT, CHANGED, SAME, ClipHashes, digest

unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ids = st.text("abc", min_size=1, max_size=3)
hashes = st.sampled_from([hashlib.sha256(name.encode()).hexdigest() for name in "xyz"])
known = st.dictionaries(ids, hashes)


@pytest.fixture(params=["sha256", "colliding"])
def hashing(request, monkeypatch):
    """Also with ids whose first 8 bytes all agree, which never happens with so few real ones."""
    if request.param == "colliding":

        def colliding(clip_id, clip_hash):
            return bytes(8) + hashlib.sha256(clip_id.encode()).digest()[:2] + bytes.fromhex(clip_hash[:12])

        monkeypatch.setattr(module, "digest", colliding)
    return request.param


def joined(clips):
    return b"".join(module.digest(*clip) for clip in clips)


@pytest.mark.usefixtures("hashing")
def test_compare_tally_and_hash_of():
    @unhurried
    @given(known, known)
    def check(have, asked):
        clips = ClipHashes(have.items())
        expected = [
            ABSENT if name not in have else SAME if have[name] == value else CHANGED for name, value in asked.items()
        ]
        assert clips.compare(joined(asked.items())).tolist() == expected
        assert ClipHashes(asked.items()).tally(clips) == tuple(expected.count(s) for s in (ABSENT, SAME, CHANGED))
        for name in asked:
            assert clips.hash_of(name) == (have[name][:12] if name in have else None)
        assert len(clips) == len(have)

    check()


@pytest.mark.usefixtures("hashing")
def test_duplicates():
    @unhurried
    @given(st.lists(st.tuples(ids, hashes)))
    def check(items):
        clips = ClipHashes()
        for item in items:
            clips.add(joined([item]))
        names = [name for name, _ in items]
        doubled = {joined([(name, "0" * 64)])[:10] for name in names if names.count(name) > 1}
        assert clips.duplicates(100) == doubled
        assert len(clips.duplicates(1)) == min(len(doubled), 1)

    check()


def test_clips_may_be_added_after_a_look_up():
    clips = ClipHashes([("a", "ab" * 32)])
    assert clips.compare(digest("b", "ab" * 32)).tolist() == [ABSENT]
    clips.add(digest("b", "ab" * 32))
    assert clips.compare(digest("b", "ab" * 32)).tolist() == [SAME]


def test_a_set_holds_sixteen_bytes_a_clip():
    clips = ClipHashes()
    clips.add(np.random.default_rng(0).bytes(16 * 100_000))
    assert clips.duplicates(10) == set()
    assert len(clips) == 100_000
    assert clips._high.nbytes + clips._low.nbytes == 1_600_000
