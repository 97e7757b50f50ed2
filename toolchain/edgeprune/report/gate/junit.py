"""The gate's verdict as JUnit XML: a suite a target, a test case a metric.

The dialect is that of Jenkins' and GitLab's readers (`junit-10.xsd` of the Jenkins xUnit plugin).
"""

from __future__ import annotations

from collections.abc import Mapping
from xml.etree import ElementTree as ET

from edgeprune.gate.result import Failure, GateResult, MetricVerdict
from edgeprune.report.cells import plain


def render_junit(results: Mapping[str, GateResult], failure: Failure | None = None) -> str:
    """Return the XML: a regression is a failure; what is inconclusive an error, since it is no pass."""
    root = ET.Element("testsuites", name="edgeprune check")
    for target, result in results.items():
        cases = [metric.verdict for metric in result.metrics]
        suite = ET.SubElement(
            root,
            "testsuite",
            name=plain(target),
            tests=str(len(cases)),
            failures=str(cases.count("fail")),
            errors=str(cases.count("inconclusive")),
            skipped="0",
        )
        _properties(suite, result)
        for metric in result.metrics:
            _case(suite, target, metric)
        if result.notes:
            ET.SubElement(suite, "system-out").text = "\n".join(plain(note) for note in result.notes)
    if failure is not None:
        _failed(root, failure)
    ET.indent(root)
    text: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return text.decode()


def _failed(root: ET.Element, failure: Failure) -> None:
    suite = ET.SubElement(root, "testsuite", name="check", tests="1", failures="0", errors="1", skipped="0")
    case = ET.SubElement(suite, "testcase", classname="edgeprune.check", name="verdict")
    message = plain(failure.message)
    ET.SubElement(case, "error", type=failure.kind, message=message).text = message


def _properties(suite: ET.Element, result: GateResult) -> None:
    properties = ET.SubElement(suite, "properties")
    told = {"verdict": result.verdict, "tau": f"{result.tau:g}", "pairs": len(result.pairs)}
    for side, described in (("baseline", result.baseline), ("candidate", result.candidate)):
        told |= {f"{side}.{key}": value for key, value in described.items()}
    for name, value in told.items():
        ET.SubElement(properties, "property", name=name, value=plain(value))


def _case(suite: ET.Element, target: str, metric: MetricVerdict) -> None:
    case = ET.SubElement(suite, "testcase", classname=f"edgeprune.{plain(target)}", name=plain(metric.name))
    evidence = plain(metric.evidence)
    if metric.verdict == "fail":
        kind = "budget" if metric.budget else "regression"
        ET.SubElement(case, "failure", type=kind, message=evidence).text = evidence
    elif metric.verdict == "inconclusive":
        ET.SubElement(case, "error", type="inconclusive", message=evidence).text = evidence
    else:
        ET.SubElement(case, "system-out").text = evidence
