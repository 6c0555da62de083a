package monitor

import "sync"

// exitQueue carries exits from the reading goroutine to a channel without ever holding
// the reader up, so that a slow consumer cannot stall the answers to requests.
type exitQueue struct {
	out  chan Exit
	quit chan struct{}
	wake chan struct{} // capacity 1

	mu     sync.Mutex
	queue  []Exit
	ended  bool
	closed sync.Once
}

func (q *exitQueue) start() {
	q.out, q.quit, q.wake = make(chan Exit), make(chan struct{}), make(chan struct{}, 1)
	go q.pump()
}

func (q *exitQueue) push(e Exit) {
	q.mu.Lock()
	q.queue = append(q.queue, e)
	q.mu.Unlock()
	q.signal()
}

// end closes the channel once all that was pushed has been read.
func (q *exitQueue) end() {
	q.mu.Lock()
	q.ended = true
	q.mu.Unlock()
	q.signal()
}

// stop closes the channel at once.
func (q *exitQueue) stop() { q.closed.Do(func() { close(q.quit) }) }

func (q *exitQueue) signal() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func (q *exitQueue) pump() {
	defer close(q.out)
	for {
		q.mu.Lock()
		batch, ended := q.queue, q.ended
		q.queue = nil
		q.mu.Unlock()
		for _, e := range batch {
			select {
			case q.out <- e:
			case <-q.quit:
				return
			}
		}
		if len(batch) > 0 {
			continue
		}
		if ended {
			return
		}
		select {
		case <-q.wake:
		case <-q.quit:
			return
		}
	}
}
