#!/usr/bin/env python3
"""Checks of the parts that need neither a peer nor a model: python3 tools/compare/test_compare.py"""

import ctypes
import tempfile
import unittest
from argparse import Namespace
from pathlib import Path

import laminar
import report
import structs
import tests
from bars import IK, LAMINAR, LLAMA
from failure import Failure
from tokens import SplitMix, Tokens

LENGTHS = Namespace(short_context=32, steps=64, context=512, batch_steps=32)
HEADER = """
    typedef bool (*some_callback)(float progress, void * user_data);
    // struct params { int wrong; };
    struct params {
        const float * split; /* a pointer; and
                                a comment over lines */
        enum mode mode;      // an enum
        uint32_t n;
        some_callback callback;
        bool flag;
    };
"""


class Compare(unittest.TestCase):
    def test_structs_lie_as_a_c_compiler_lays_them_out(self):
        (layout,) = read(HEADER)
        offsets = {name: getattr(layout, name).offset for name, _ in layout._fields_}
        self.assertEqual(offsets, {"split": 0, "mode": 8, "n": 12, "callback": 16, "flag": 24})
        self.assertEqual(ctypes.sizeof(layout), 32)

    def test_a_field_of_unknown_kind_is_refused(self):
        with self.assertRaisesRegex(structs.HeaderError, "struct params .*: pair both"):
            read("struct params { int32_t n; pair both; };")
        with self.assertRaisesRegex(structs.HeaderError, "no struct params"):
            read("struct other { int32_t n; };")

    def test_random_tokens_are_those_of_laminar(self):
        self.assertEqual(SplitMix(0).next(), 0xE220A8397B1DCDAF)
        tokens = Tokens(7, 100)
        self.assertEqual(tokens.prompt(8)[:3], tokens.prompt(3))
        self.assertNotEqual(tokens.decoding(0, 8), tokens.decoding(1, 8))

    def test_names_of_tests(self):
        parsed = tests.parse("decode-8-shared,decode-8,prefill-512,decode-1,decode-8", LENGTHS)
        self.assertEqual([test.name for test in parsed], ["prefill-512", "decode-1", "decode-8", "decode-8-shared"])
        self.assertEqual([test.tokens for test in parsed], [512, 64, 256, 256])
        for wrong in ("", "prefill", "prefill-0", "decode-1-shared", "prefill-8-shared", "train-3"):
            with self.assertRaises(Failure):
                tests.parse(wrong, LENGTHS)

    def test_laminar_runs_once_for_each_context(self):
        parsed = tests.parse("prefill-512,decode-1,decode-8,decode-16,decode-8-shared", LENGTHS)
        runs = laminar.groups(parsed)
        self.assertEqual([[test.name for test in run] for run in runs][0], ["prefill-512", "decode-1"])
        self.assertEqual([test.name for test in runs[1]], ["decode-8", "decode-16", "decode-8-shared"])

    def test_ratios_and_bars(self):
        (test,) = tests.parse("decode-1", LENGTHS)
        rounds = [
            turn(laminar=100.0, llama=50.0, ik=100.0, read=0.8),
            turn(laminar=120.0, llama=100.0, ik=100.0, read=0.7),
            turn(laminar=110.0, llama=None, ik=100.0, read=0.9),
        ]
        got = report.test_report(test, "moe", "Q4_0", rounds, [LAMINAR, LLAMA, IK])
        llama, ik = got["comparisons"]
        self.assertAlmostEqual(llama["ratio_of_medians"], 110 / 75)
        self.assertEqual(llama["ratio_by_round"]["samples"], [2.0, 1.2])
        self.assertEqual((llama["bar"], llama["met"]), (None, None))
        self.assertEqual((ik["bar"], ik["met"]), (1.1, True))
        self.assertEqual((got["fraction_of_read"]["median"], got["fraction_of_read"]["met"]), (0.8, True))
        self.assertEqual(got["errors"], ["llama.cpp: gone"])
        self.assertEqual(report.verdicts([{"tests": [got]}]), {"met": 2, "missed": 0})

    def test_without_a_peer_there_is_no_comparison(self):
        (test,) = tests.parse("prefill-512", LENGTHS)
        got = report.test_report(test, "moe", "Q8_0", [{LAMINAR: {"prefill-512": {"tokens_per_s": 1.0}}}], [LAMINAR])
        self.assertEqual((got["comparisons"], got["fraction_of_read"]), ([], None))


def read(text):
    with tempfile.TemporaryDirectory() as folder:
        header = Path(folder) / "llama.h"
        header.write_text(text)
        return structs.read(header, ["params"])


def turn(laminar, llama, ik, read):
    """The results of one round of decode-1."""
    gone = {"tokens_per_s": None, "error": "llama.cpp: gone"}
    return {
        LAMINAR: {"decode-1": {"tokens_per_s": laminar, "fraction_of_read": read}},
        LLAMA: {"decode-1": {"tokens_per_s": llama} if llama else gone},
        IK: {"decode-1": {"tokens_per_s": ik}},
    }


if __name__ == "__main__":
    unittest.main()
