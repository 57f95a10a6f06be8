package models

import "editpipe/ort"

// A Meter measures what asking a model uses, device memory included.
type Meter struct {
	lm  *LM
	ort *ort.Meter
}

// StartMeter starts measuring. As with ort.StartMeter, meters of one process
// must not overlap.
func (lm *LM) StartMeter() *Meter { return &Meter{lm, ort.StartMeter()} }

// Stop ends the measuring. PeakVRAM counts the sessions open now, those built
// since StartMeter included; see ort.Usage.
func (m *Meter) Stop() ort.Usage {
	u := m.ort.Stop()
	// The runtime counts from the loading of a session, not from the start of a
	// meter, so a meter over what is open at the end has the figure.
	u.PeakVRAM = ort.StartMeter(m.lm.built()...).Stop().PeakVRAM
	return u
}

// built lists the sessions that are ready.
func (lm *LM) built() []*ort.Session {
	lm.mu.Lock()
	defer lm.mu.Unlock()
	var list []*ort.Session
	for _, s := range lm.sessions {
		if run := s.run.Load(); run != nil {
			list = append(list, run)
		}
	}
	return list
}
