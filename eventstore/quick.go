package eventstore

import (
	"encoding"
	"encoding/binary"
	"encoding/json"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"verbatim/domain"
)

// Whoever reads the log decodes every event of it, and encoding/json takes three
// times as long for that as the database takes to read it. Nearly all that it
// decodes was written by Encode: compact, each member once and under the very
// name that the field has, with few escapes. Such data is read here in one go.
// What is not like that, be it unusual or wrong, is left to encoding/json, which
// decides what it means: the two never differ, they take different times.

// A quick reads one JSON text. Its methods report whether what they came upon is
// as Encode writes it; if not, nothing they returned counts.
type quick struct {
	data []byte
	at   int
}

// A reading reads a value into v, which is zero.
type reading func(q *quick, v reflect.Value) bool

// read reads the whole of data into v.
func (read reading) read(data []byte, v reflect.Value) bool {
	q := quick{data: data}
	return read(&q, v) && q.at == len(data)
}

// maxFields is how many fields of a struct can be told apart as read and unread.
const maxFields = 64

// readingOf returns how values of a type are read, or nil if there is something
// in it that only encoding/json knows to read.
func readingOf(t reflect.Type) reading {
	switch t {
	case reflect.TypeFor[json.RawMessage]():
		return readRaw
	case reflect.TypeFor[domain.Attributes]():
		return readAttributes
	case reflect.TypeFor[time.Time]():
		return readTime
	}
	if to := reflect.PointerTo(t); to.Implements(reflect.TypeFor[json.Unmarshaler]()) ||
		to.Implements(reflect.TypeFor[encoding.TextUnmarshaler]()) {
		return nil
	}
	switch t.Kind() {
	case reflect.String:
		return readText
	case reflect.Bool:
		return readBool
	case reflect.Int, reflect.Int64:
		return readInt
	case reflect.Pointer:
		return pointerTo(t.Elem())
	case reflect.Slice:
		return sliceOf(t.Elem())
	case reflect.Struct:
		return structOf(t)
	default:
		return nil
	}
}

// A member is a field of a struct and its name in JSON.
type member struct {
	name string
	read reading
}

func structOf(t reflect.Type) reading {
	if t.NumField() > maxFields {
		return nil
	}
	members := make([]member, t.NumField())
	for i := range members {
		f := t.Field(i)
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		read := readingOf(f.Type)
		if f.Anonymous || !f.IsExported() || name == "" || name == "-" || read == nil || strings.Contains(options, "string") {
			return nil
		}
		members[i] = member{name, read}
	}
	return func(q *quick, v reflect.Value) bool {
		if !q.next('{') {
			return false
		}
		if q.next('}') {
			return true
		}
		var read uint64 // a bit for each member; of one that stands twice, encoding/json makes one
		for at := 0; ; at++ {
			name, ok := q.name()
			if !ok {
				return false
			}
			i := find(members, name, at)
			if i < 0 || read&(1<<i) != 0 || !members[i].read(q, v.Field(i)) {
				return false
			}
			read |= 1 << i
			at = i
			if !q.next(',') {
				return q.next('}')
			}
		}
	}
}

// find returns the member of that name, which is most likely the one at a place
// or soon behind it, or -1.
func find(members []member, name []byte, at int) int {
	for i := at; i < len(members); i++ {
		if members[i].name == string(name) {
			return i
		}
	}
	for i := range min(at, len(members)) {
		if members[i].name == string(name) {
			return i
		}
	}
	return -1
}

func pointerTo(t reflect.Type) reading {
	read := readingOf(t)
	if read == nil {
		return nil
	}
	return func(q *quick, v reflect.Value) bool {
		if q.literal("null") {
			return true
		}
		v.Set(reflect.New(t))
		return read(q, v.Elem())
	}
}

func sliceOf(t reflect.Type) reading {
	read := readingOf(t)
	if read == nil || t.Kind() == reflect.Uint8 {
		return nil
	}
	return func(q *quick, v reflect.Value) bool {
		if q.literal("null") {
			return true
		}
		if !q.next('[') {
			return false
		}
		if q.next(']') {
			v.Set(reflect.MakeSlice(v.Type(), 0, 0))
			return true
		}
		for n := 0; ; n++ {
			if n == v.Cap() {
				v.Grow(1)
			}
			v.SetLen(n + 1)
			element := v.Index(n)
			element.SetZero()
			if !read(q, element) {
				return false
			}
			if !q.next(',') {
				return q.next(']')
			}
		}
	}
}

func readText(q *quick, v reflect.Value) bool {
	s, ok := q.text()
	v.SetString(s)
	return ok
}

func readBool(q *quick, v reflect.Value) bool {
	if q.literal("true") {
		v.SetBool(true)
		return true
	}
	return q.literal("false")
}

func readInt(q *quick, v reflect.Value) bool {
	n, ok := q.number()
	if !ok || v.OverflowInt(n) {
		return false
	}
	v.SetInt(n)
	return true
}

func readTime(q *quick, v reflect.Value) bool {
	start := q.at
	if q.peek() != '"' || !q.skip(0) {
		return false
	}
	return v.Addr().Interface().(*time.Time).UnmarshalJSON(q.data[start:q.at]) == nil
}

func readRaw(q *quick, v reflect.Value) bool {
	raw, ok := q.value()
	v.SetBytes(raw)
	return ok
}

// readAttributes reads an open object as its UnmarshalJSON does.
func readAttributes(q *quick, v reflect.Value) bool {
	if !q.next('{') {
		return false
	}
	a := domain.Attributes{}
	defer func() { v.Set(reflect.ValueOf(a)) }()
	if q.next('}') {
		return true
	}
	for {
		key, ok := q.text()
		if !ok || !q.next(':') || len(a) == fewAttributes || a.Get(key) != nil {
			return false
		}
		value, ok := q.value()
		if !ok {
			return false
		}
		a = append(a, domain.Attribute{Key: key, Value: value})
		if !q.next(',') {
			return q.next('}')
		}
	}
}

// fewAttributes bounds how many keys are searched for one that stands twice.
const fewAttributes = 32

// actor reads metadata for one of its members.
func (q *quick) actor() (actor string, ok bool) {
	if !q.next('{') {
		return "", false
	}
	if q.next('}') {
		return "", true
	}
	for seen := false; ; {
		name, ok := q.name()
		if !ok {
			return "", false
		}
		switch string(name) {
		case "actor":
			if seen {
				return "", false // the last one counts
			}
			seen = true
			actor, ok = q.text()
		case "command", "correlation", "causation", "trace":
			ok = q.skip(0)
		default:
			return "", false // it may be one of them in another spelling
		}
		if !ok {
			return "", false
		}
		if !q.next(',') {
			return actor, q.next('}')
		}
	}
}

// peek returns the next byte, 0 at the end.
func (q *quick) peek() byte {
	if q.at < len(q.data) {
		return q.data[q.at]
	}
	return 0
}

// next passes over one byte if it is that.
func (q *quick) next(c byte) bool {
	if q.at < len(q.data) && q.data[q.at] == c {
		q.at++
		return true
	}
	return false
}

// literal passes over a word if it is there.
func (q *quick) literal(word string) bool {
	if rest := q.data[q.at:]; len(rest) < len(word) || string(rest[:len(word)]) != word {
		return false
	}
	q.at += len(word)
	return true
}

// name reads the name of a member, and the colon behind it. Ours need no escape.
func (q *quick) name() ([]byte, bool) {
	if !q.next('"') {
		return nil, false
	}
	start := q.at
	for i := start; i < len(q.data); i++ {
		switch q.data[i] {
		case '"':
			q.at = i + 1
			return q.data[start:i], q.next(':')
		case '\\':
			return nil, false
		}
	}
	return nil, false
}

// text reads a string.
func (q *quick) text() (string, bool) {
	if !q.next('"') {
		return "", false
	}
	start, wide := q.at, false
	for i := plainUpTo(q.data, start); i < len(q.data); i++ {
		switch c := q.data[i]; {
		case c == '"':
			q.at = i + 1
			if wide && !utf8.Valid(q.data[start:i]) {
				return "", false
			}
			return string(q.data[start:i]), true
		case c == '\\':
			q.at = i
			return q.escaped(start)
		case c < ' ':
			return "", false
		case c >= utf8.RuneSelf:
			wide = true
		}
	}
	return "", false
}

// plainUpTo returns a place in data, from i on, up to which a string has neither
// its end nor anything that has to be looked at closely. It takes eight bytes at a
// time.
func plainUpTo(data []byte, i int) int {
	const each, top = 0x0101010101010101, 0x8080808080808080
	for ; i+8 <= len(data); i += 8 {
		x := binary.LittleEndian.Uint64(data[i:])
		// The top bit of each byte: not ASCII, below ' ', or what is subtracted from
		// after the exclusive or has made it 0. A byte above one of those may be
		// marked as well, and none that should be is not.
		if (x|(x-' '*each)|(x^'"'*each-each)|(x^'\\'*each-each))&top != 0 {
			return i
		}
	}
	return i
}

// escaped reads a string with escapes, but for those by number, from its first
// escape on.
func (q *quick) escaped(start int) (string, bool) {
	var stack [256]byte
	text := append(stack[:0], q.data[start:q.at]...)
	for i := q.at; i < len(q.data); i++ {
		switch c := q.data[i]; {
		case c == '"':
			q.at = i + 1
			return string(text), utf8.Valid(text)
		case c == '\\':
			i++
			if i == len(q.data) {
				return "", false
			}
			plain := unescape(q.data[i])
			if plain == 0 {
				return "", false
			}
			text = append(text, plain)
		case c < ' ':
			return "", false
		default:
			text = append(text, c)
		}
	}
	return "", false
}

// unescape returns what a letter behind a backslash stands for, 0 if that takes
// more than the letter.
func unescape(c byte) byte {
	switch c {
	case '"', '\\', '/':
		return c
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	default:
		return 0
	}
}

// maxDigits is how many digits fit into an int64, whatever they are.
const maxDigits = 18

// number reads a whole number.
func (q *quick) number() (n int64, ok bool) {
	negative := q.next('-')
	start := q.at
	for ; q.at < len(q.data) && q.data[q.at] >= '0' && q.data[q.at] <= '9'; q.at++ {
		n = n*10 + int64(q.data[q.at]-'0')
	}
	digits := q.at - start
	if digits == 0 || digits > maxDigits || digits > 1 && q.data[start] == '0' {
		return 0, false
	}
	switch q.peek() { // 1.0 and 1e3 are no whole numbers to encoding/json
	case '.', 'e', 'E':
		return 0, false
	}
	if negative {
		n = -n
	}
	return n, true
}

// value reads any value and returns a copy of its bytes, which are compact and
// hold no escape by number.
func (q *quick) value() ([]byte, bool) {
	start := q.at
	if !q.skip(0) {
		return nil, false
	}
	return append([]byte(nil), q.data[start:q.at]...), true
}

// maxDepth bounds how deep a value is nested. It is far above what Encode is
// given and far below what encoding/json refuses.
const maxDepth = 100

// skip passes over a value.
func (q *quick) skip(depth int) bool {
	switch c := q.peek(); c {
	case '"':
		return q.skipText()
	case '{', '[':
		return depth < maxDepth && q.skipMembers(depth)
	case 't':
		return q.literal("true")
	case 'f':
		return q.literal("false")
	case 'n':
		return q.literal("null")
	default:
		return q.skipNumber()
	}
}

func (q *quick) skipMembers(depth int) bool {
	object := q.next('{')
	closing := byte('}')
	if !object {
		q.at++
		closing = ']'
	}
	if q.next(closing) {
		return true
	}
	for {
		if object && (!q.skipText() || !q.next(':')) || !q.skip(depth+1) {
			return false
		}
		if !q.next(',') {
			return q.next(closing)
		}
	}
}

func (q *quick) skipText() bool {
	if !q.next('"') {
		return false
	}
	for q.at < len(q.data) {
		c := q.data[q.at]
		q.at++
		switch {
		case c == '"':
			return true
		case c < ' ':
			return false
		case c == '\\':
			if unescape(q.peek()) == 0 {
				return false
			}
			q.at++
		}
	}
	return false
}

func (q *quick) skipNumber() bool {
	q.next('-')
	if q.next('0') {
		if c := q.peek(); c >= '0' && c <= '9' {
			return false
		}
	} else if !q.skipDigits() {
		return false
	}
	if q.next('.') && !q.skipDigits() {
		return false
	}
	if q.next('e') || q.next('E') {
		if !q.next('+') {
			q.next('-')
		}
		return q.skipDigits()
	}
	return true
}

func (q *quick) skipDigits() bool {
	start := q.at
	for q.at < len(q.data) && q.data[q.at] >= '0' && q.data[q.at] <= '9' {
		q.at++
	}
	return q.at > start
}
