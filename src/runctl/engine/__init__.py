"""The verbs, without a vendor: plan, apply, lease, sync, launch, follow, runs, stats."""
