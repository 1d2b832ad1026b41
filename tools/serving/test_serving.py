#!/usr/bin/env python3
"""Checks of the parts that need neither a server nor a model: python3 tools/serving/test_serving.py"""

import io
import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "compare"))

import drive
import figures
import goals
import loads
import markdown
import replay
import sides
import table
from failure import Failure


class Serving(unittest.TestCase):
    def test_settings_and_their_commands(self):
        default, small = sides.llama("default, 64")
        self.assertEqual((default.name, default.batch, small.name), ("llama-server default", None, "llama-server -ub 64"))
        command = small.command("llama-server", Path("m.gguf"), 1234, 2, 6, 9000)
        self.assertEqual(command[command.index("-c") + 1], "54000")
        self.assertEqual(command[-4:], ["-b", "64", "-ub", "64"])
        self.assertNotIn("-ub", default.command("llama-server", Path("m.gguf"), 1234, 2, 6, 9000))
        names = [(side.policy, side.factor) for side in sides.laminar("adaptive-1.5,chunked-auto-2,layered")]
        self.assertEqual(names, [("adaptive", 1.5), ("chunked-auto", 2.0), ("layered", None)])
        (auto,) = sides.laminar("chunked-auto-2")
        command = auto.command("laminar", Path("m.gguf"), 1234, 2, 6, 9000)
        self.assertEqual(command[-4:], ["--policy", "chunked", "--chunk", "auto"])
        for wrong in ("adaptive", "adaptive-1", "adaptive-x", "layered-2", "fast"):
            with self.assertRaises(Failure):
                sides.laminar(wrong)
        for wrong in ("0", "-1", "big"):
            with self.assertRaises(Failure):
                sides.llama(wrong)

    def test_loads_of_prompts_are_what_was_added_while_they_ran(self):
        looks = [(260, 90, 0), (260, 90, 0), (260, 1000, 1), (772, 1114, 0), (772, 1114, 0), (2820, 2138, 0)]
        self.assertEqual(loads.of_prompts(looks, [512, 2048]), [1024, 1024])
        restarted = [(260, 90, 0), (836, 1300, 0), (2884, 2324, 0)]
        self.assertEqual(loads.of_prompts(restarted, [512]), [None], "a stream began anew beside it")
        self.assertEqual(loads.of_prompts([], [512]), [None])

    def test_medians_are_of_the_rounds_without_failure(self):
        rounds = [sample(ttft=4.0, p99=0.09, longest=0.1), sample(ttft=2.0, p99=0.07, longest=0.3)]
        rounds += [sample(ttft=3.0, p99=0.08, longest=0.2), sample(ttft=99.0, p99=9.0, longest=9.0, failure="gone")]
        (line,) = figures.lines(rounds)
        self.assertEqual((line["rounds"], line["ttft_s"], line["p99_s"], line["stall_s"]), (3, 3.0, 0.08, 0.2))
        self.assertEqual((line["target_s"], line["failures"]), (0.1, ["gone"]))
        self.assertAlmostEqual(line["p99_of_target"], 0.8)
        self.assertIsNone(figures.median([None]))

    def test_bars(self):
        lines = figures.lines(
            [
                sample(factor=2.0, ttft=10.0, p99=0.09, longest=0.14, passes=1.0),
                sample(factor=4.0, ttft=8.0, p99=0.19, longest=0.25, target=0.2),
                sample(policy="chunked-auto", factor=2.0, ttft=19.0, p99=0.1, longest=0.1),
                sample(server=sides.LLAMA, side="llama-server -ub 64", ttft=30.0, p99=1.0, longest=1.5),
                sample(server=sides.LLAMA, side="llama-server default", ttft=15.0, p99=9.0, longest=9.0),
            ]
        )
        found = {verdict["about"]: (verdict["value"], verdict["met"]) for verdict in goals.verdicts(lines, {"m": "moe"})}
        expected = {
            "adaptive 2x: p99 gap / target": (0.9, True),
            "adaptive 2x: longest stall / target": (1.4, False),
            "adaptive 4x: longest stall / target": (1.25, True),
            "laminar adaptive 2x: passes over the experts": (1.0, True),
            "adaptive 2x beside llama-server -ub 64: TTFT, its over ours": (3.0, True),
            "adaptive 2x beside llama-server -ub 64: longest stall, its over ours": (1.5 / 0.14, True),
            "adaptive 4x beside llama-server default (best TTFT): TTFT, its over ours": (15 / 8, False),
            "adaptive 2x beside llama-server default: longest stall, its over ours": (9 / 0.14, True),
            "adaptive 2x beside chunked-auto 2x: TTFT, its over ours": (1.9, False),
        }
        for about, (value, met) in expected.items():
            self.assertAlmostEqual(found[about][0], value, msg=about)
            self.assertEqual(found[about][1], met, about)

    def test_pages_have_a_table_for_each_prompt_length_and_one_of_the_bars(self):
        lines = figures.lines(
            [
                sample(factor=2.0, ttft=10.0, p99=0.09, longest=0.14, passes=1.0),
                sample(factor=4.0, ttft=8.0, p99=0.19, longest=0.25, target=0.2, side="adaptive 4x"),
                sample(server=sides.LLAMA, side="llama-server default", ttft=15.0, p99=9.0, longest=9.0),
            ]
        )
        out = io.StringIO()
        markdown.page(lines, goals.verdicts(lines, {"m": "moe"}), out)
        page = out.getvalue().splitlines()
        self.assertIn("**`m`, a prompt of 512 tokens** (rounds: 1)", page)
        self.assertTrue(any(row.startswith("| llama-server default | 15.00 | - |") for row in page), page)
        self.assertIn("| adaptive 2x: longest stall / target <= 1.3 | **1.40** |", page)
        self.assertIn("| adaptive 4x beside llama-server's best TTFT: TTFT, its over ours >= 2 | **1.88** |", page)
        widths = {row.count("|") for row in page if row.startswith("|") and "first" not in row}
        self.assertEqual(widths, {10, 3})

    def test_a_line_without_a_good_round_meets_no_bar_and_is_shown(self):
        lines = figures.lines([sample(factor=2.0, ttft=None, p99=0.0, longest=0.0, failure="timeout")])
        self.assertEqual(goals.verdicts(lines, {"m": "moe"}), [])
        out = io.StringIO()
        table.figures(lines, out)
        self.assertIn("timeout", out.getvalue())

    def test_a_replay_is_summed_up(self):
        spread = {"p50": 1.0, "p99": 2.0, "max": 3.0}
        summary = {"requests": 3, "failed": 0, "duration_s": 20.0, "ttft_s": spread, "gap_s": spread}
        summary.update(goodput={"attainment": 2 / 3, "requests_per_s": 0.1}, output_tokens_per_s=5.0)
        report = {
            "groups": [{"role": "request", "summary": summary}],
            "requests": [{"planned_s": second} for second in (0.0, 2.0, 4.0)],
        }
        point = {"side": "a", **replay.rates(report, 8.0)}
        self.assertEqual((point["rate"], point["goodput_per_s"], point["gap_max_s"]), (0.5, 0.1, 3.0))
        out = io.StringIO()
        markdown.replays([point], out)
        self.assertIn("| a | 8 | 0.500 | 67 % | 0.100 | 1.0, 2 | 2000, 3000 | 0 |", out.getvalue())
        self.assertEqual(replay.sustained([point]), {})
        better = {**point, "attainment": 0.95, "goodput_per_s": 0.2}
        self.assertEqual(replay.sustained([point, better, {**better, "goodput_per_s": 0.1}]), {"a": 0.2})

    def test_samples_of_a_report(self):
        spread = {"count": 9, "mean": 1.0, "min": 0.5, "p50": 1.0, "p90": 2.0, "p99": 3.0, "max": 4.0}
        prompt = {"prompt_tokens": 512, "ttft_s": 1.5, "failure": None, "plain_gap_s": spread, "during_gap_s": None}
        prompt.update(plain_tokens_per_s=10.0, during_tokens_per_s=5.0)
        report = {"prompts": [prompt], "groups": [{"role": "stream", "summary": {"failed": 0}}]}
        (found,) = drive.samples(report)
        self.assertEqual((found["plain_gap_s"]["p99"], found["during_gap_s"], found["failure"]), (3.0, None, None))
        self.assertEqual(drive.plain_step(report), 1.0)
        report["groups"][0]["summary"]["failed"] = 2
        self.assertEqual(drive.samples(report)[0]["failure"], "2 streams failed")


def sample(server=sides.LAMINAR, side=None, policy="adaptive", factor=None, ttft=1.0, p99=0.1, longest=0.1, **more):
    ours = server == sides.LAMINAR
    policy = policy if ours else None
    gaps = {"count": 100, "p50": p99, "p90": p99, "p99": p99, "max": longest}
    return {
        **{"model": "m", "prompt_tokens": 512, "server": server, "policy": policy, "factor": factor},
        **{"side": side or f"laminar {policy}" + (f" {factor:g}x" if factor else "")},
        **{"target_s": more.get("target", 0.1 if ours else None), "ttft_s": ttft, "failure": more.get("failure")},
        **{"plain_gap_s": gaps, "during_gap_s": gaps, "during_tokens_per_s": 1.0, "expert_passes": more.get("passes")},
    }


if __name__ == "__main__":
    unittest.main()
