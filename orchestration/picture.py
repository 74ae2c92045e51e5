"""The lineage graph as a Mermaid flowchart, drawn from the Definitions: `python -m orchestration.picture`."""

from dagster import Definitions


def mermaid(definitions: Definitions) -> str:
    """Every asset as a node inside its group, every dependency as an arrow; a pure function of the graph."""
    specs = sorted(definitions.resolve_all_asset_specs(), key=lambda spec: spec.key.to_user_string())
    groups: dict[str, list[str]] = {}
    for spec in specs:
        groups.setdefault(spec.group_name or "default", []).append(spec.key.to_user_string())
    lines = ["flowchart LR"]
    for group in sorted(groups):
        lines.append(f"  subgraph stage_{group} [{group}]")  # a group and an asset may share a name
        lines += [f"    {name}" for name in groups[group]]
        lines.append("  end")
    for spec in specs:
        parents = sorted(dep.asset_key.to_user_string() for dep in spec.deps)
        lines += [f"  {parent} --> {spec.key.to_user_string()}" for parent in parents]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    from orchestration.definitions import defs

    print(mermaid(defs), end="")
