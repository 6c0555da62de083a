package pods

// Watch has f told of every change of a pod that lists show; see inventory.Inventory.Watch.
func (p *Pods) Watch(f func(old, now *Pod)) { p.inv.Watch(f) }
