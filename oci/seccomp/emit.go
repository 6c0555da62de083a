package seccomp

// insn is struct sock_filter.
type insn struct {
	code   uint16
	jt, jf uint8
	k      uint32
}

// Opcodes (linux/bpf_common.h) that seccomp takes.
const (
	ldAbs = 0x20 // A = word at k of struct seccomp_data
	and   = 0x54 // A &= k
	ja    = 0x05 // pc += k
	jeq   = 0x15
	jgt   = 0x25
	jge   = 0x35
	ret   = 0x06
)

// Offsets in struct seccomp_data.
const (
	offNumber = 0
	offArch   = 4
	offArgs   = 16
)

// program puts the ABIs together: a chain over AUDIT_ARCH, then in each a balanced tree
// over the number. Returns are in place, so only the tree's own jumps can be long.
// Nothing but loads of arch and number lies before an unconditional return: that is what
// lets Linux 5.11 and later answer such calls from a bitmap without running the filter.
func (c *compiler) program() []insn {
	out := []insn{{code: ldAbs, k: offArch}}
	var done []uint32
	for _, a := range c.abis {
		group := c.group(a.audit, done)
		if group == nil {
			continue
		}
		done = append(done, a.audit)
		body := append([]insn{{code: ldAbs, k: offNumber}}, tree(c.segments(group))...)
		out = append(out, branch(insn{code: jeq, k: a.audit}, body)...)
	}
	return append(out, insn{code: ret, k: badArch})
}

// group gives the ABIs of one AUDIT_ARCH by ascending base, nil if it is already done.
func (c *compiler) group(audit uint32, done []uint32) []*abi {
	for _, d := range done {
		if d == audit {
			return nil
		}
	}
	var out []*abi
	for _, a := range c.abis {
		if a.audit == audit {
			out = append(out, a)
		}
	}
	return out
}

// branch runs body if test holds and skips it otherwise. Conditional jumps reach 255
// instructions; further needs an unconditional one.
func branch(test insn, body []insn) []insn {
	if len(body) <= 255 {
		test.jt, test.jf = 0, uint8(len(body))
		return append([]insn{test}, body...)
	}
	test.jt, test.jf = 1, 0
	return append([]insn{test, {code: ja, k: uint32(len(body))}}, body...)
}

// tree finds the segment of the number in A by halving.
func tree(s []segment) []insn {
	if len(s) == 1 {
		return append(ruleCode(s[0].rules), insn{code: ret, k: s[0].ret})
	}
	mid := len(s) / 2
	low, high := tree(s[:mid]), tree(s[mid:])
	out := make([]insn, 0, 2+len(low)+len(high))
	if len(low) <= 255 {
		out = append(out, insn{code: jge, k: s[mid].first, jt: uint8(len(low))})
	} else {
		out = append(out, insn{code: jge, k: s[mid].first, jf: 1}, insn{code: ja, k: uint32(len(low))})
	}
	return append(append(out, low...), high...)
}

// ruleCode tries rules in order and falls through if none matches.
func ruleCode(rules []rule) []insn {
	var out []insn
	for len(rules) > 0 {
		if n := equalRun(rules); n > 1 {
			out = append(out, equalSet(rules[:n])...)
			rules = rules[n:]
			continue
		}
		out = append(out, oneRule(rules[0])...)
		rules = rules[1:]
	}
	return out
}

// equalRun counts the leading rules that compare one argument with values of one upper
// half and return the same: a set, which needs each word loaded once.
func equalRun(rules []rule) int {
	const most = 250 // jumps over the set stay within 255
	first := rules[0]
	for n, r := range rules {
		if n == most || len(r.conds) != 1 || r.ret != first.ret {
			return n
		}
		k, f := r.conds[0], first.conds[0]
		if k.op != opEqual || k.mask != ^uint64(0) || k.arg != f.arg || k.value>>32 != f.value>>32 {
			return n
		}
	}
	return len(rules)
}

func equalSet(rules []rule) []insn {
	n := len(rules)
	k := rules[0].conds[0]
	out := []insn{
		{code: ldAbs, k: highWord(k.arg)},
		{code: jeq, k: uint32(k.value >> 32), jf: uint8(n + 2)},
		{code: ldAbs, k: lowWord(k.arg)},
	}
	for i, r := range rules {
		j := insn{code: jeq, k: uint32(r.conds[0].value), jt: uint8(n - 1 - i)}
		if i == n-1 {
			j.jf = 1
		}
		out = append(out, j)
	}
	return append(out, insn{code: ret, k: rules[0].ret})
}

// Targets of jumps inside one rule until its length is known.
const (
	toNext = 0   // the next instruction
	toHit  = 254 // this condition holds
	toMiss = 255 // the rule does not match
)

// oneRule is at most 6 conditions of 6 instructions and a return, so that its jumps are short.
func oneRule(r rule) []insn {
	var out []insn
	var ends []int // of each condition's code
	for _, k := range r.conds {
		out = append(out, condCode(k)...)
		ends = append(ends, len(out))
	}
	end, start := len(out)+1, 0
	for _, e := range ends {
		for i := start; i < e; i++ {
			out[i].jt = resolve(out[i].jt, i, e, end)
			out[i].jf = resolve(out[i].jf, i, e, end)
		}
		start = e
	}
	return append(out, insn{code: ret, k: r.ret})
}

func resolve(target uint8, at, hit, miss int) uint8 {
	switch target {
	case toHit:
		return uint8(hit - at - 1)
	case toMiss:
		return uint8(miss - at - 1)
	}
	return target
}

// condCode compares 64 bits by halves: BPF has words only.
func condCode(k cond) []insn {
	hi, lo := uint32(k.value>>32), uint32(k.value)
	switch k.op {
	case opEqual:
		out := maskedWord(nil, highWord(k.arg), uint32(k.mask>>32), hi)
		return maskedWord(out, lowWord(k.arg), uint32(k.mask), lo)
	case opNotEqual:
		return []insn{
			{code: ldAbs, k: highWord(k.arg)},
			{code: jeq, k: hi, jt: toNext, jf: toHit},
			{code: ldAbs, k: lowWord(k.arg)},
			{code: jeq, k: lo, jt: toMiss, jf: toHit},
		}
	}
	// a < b is not a >= b, a <= b is not a > b.
	yes, no, last := uint8(toHit), uint8(toMiss), uint16(jge)
	if k.op == opLess || k.op == opLessEqual {
		yes, no = no, yes
	}
	if k.op == opGreater || k.op == opLessEqual {
		last = jgt
	}
	return []insn{
		{code: ldAbs, k: highWord(k.arg)},
		{code: jgt, k: hi, jt: yes, jf: toNext},
		{code: jeq, k: hi, jt: toNext, jf: no},
		{code: ldAbs, k: lowWord(k.arg)},
		{code: last, k: lo, jt: yes, jf: no},
	}
}

func maskedWord(out []insn, off, mask, value uint32) []insn {
	if mask == 0 {
		return out
	}
	out = append(out, insn{code: ldAbs, k: off})
	if mask != ^uint32(0) {
		out = append(out, insn{code: and, k: mask})
	}
	return append(out, insn{code: jeq, k: value, jt: toNext, jf: toMiss})
}

func lowWord(arg uint8) uint32  { return offArgs + 8*uint32(arg) }
func highWord(arg uint8) uint32 { return lowWord(arg) + 4 }
