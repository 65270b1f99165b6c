//! What a change of policy would do, without a plan.

use super::{
    Tool, Toolset, boxed,
    effect::Effect,
    input, output,
    plan_policy::{Arguments, Planned, run},
};

pub(super) const TOOL: Tool = Tool {
    name: "simulate_policy",
    title: "Simulate a change of policy",
    description: "Says what a change of Linkerd policy would do to the calls that are seen now: which would be denied, \
                  which let in, with their rates, and what cannot be judged. Nothing is written and nothing is kept. Use \
                  it to try ideas (\"what if only web may call cart\"); to go through with one use plan_policy.",
    set: Toolset::Changes,
    effect: Effect::Reads,
    open_world: false,
    input: input::<Arguments>,
    output: output::<Planned>,
    run: |call| boxed(run(call, true)),
};
