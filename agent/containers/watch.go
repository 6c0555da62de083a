package containers

// StartError is the Reason of a container whose program could not be executed.
const StartError = "StartError"

// Watch has f told of every change of a container that lists show; see inventory.Inventory.Watch.
func (c *Containers) Watch(f func(old, now *Container)) { c.inv.Watch(f) }
