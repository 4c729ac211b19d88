"""The built-in local executor: `wave local` started as an agent.

Holds:       nothing.
Writes:      nothing.
When killed: nothing is lost.

Spec: SUP 17.7.
"""

from __future__ import annotations

from ...base.processes import self_command
from .launch_spec import LaunchContext, LaunchSpec, invocation_line, limits


def build(context: LaunchContext) -> LaunchSpec:
    """How to start the local executor for this agent."""
    argv = (*self_command(), "local", "--prompt-file", context.prompt_path)
    return LaunchSpec(
        executor_id="local",
        command=argv[0],
        argv=argv,
        stdin_path=None,
        cwd=context.root,
        env={"WAVE_REPO_ROOT": context.root},
        output_format="text",
        use_rate_limit_retries=False,
        invocation_lines=(invocation_line(argv, None, context.log_path),),
        limits=limits(context, None, "not-applicable", ["The local executor has no turns."]),
        overlay={},
    )
