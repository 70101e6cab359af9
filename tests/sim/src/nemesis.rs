//! The nemesis: carries out the faults of a plan.

use std::sync::Arc;

use offtake_broker::Model;

use crate::{clock, clock::ms, events::What, plan::Plan, run::Cast, world::World};

/// The topics of a plan.
pub(crate) fn create_topics(_model: &mut Model, _plan: &Plan) {}

/// Each fault at its time; then all is healed.
pub(crate) async fn run(world: World, plan: Arc<Plan>, cast: Cast) {
    let start = clock::now();
    for fault in &plan.faults {
        clock::sleep_until(start + ms(fault.at)).await;
        let class = fault.what.class();
        world.log.tell(What::Fault { class, text: format!("{:?}", fault.what) });
        let _ = &cast;
    }
    clock::sleep_until(start + ms(plan.calm)).await;
    world.log.tell(What::Healed);
}
