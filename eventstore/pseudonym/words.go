package pseudonym

import (
	"encoding/binary"
	"math/rand/v2"
	"mime"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/google/uuid"

	"verbatim/domain"
	"verbatim/domain/conversation"
	"verbatim/eventstore"
)

// What may stay as it is. Anything else in such a place is text.
const (
	roles       = " customer agent bot system "
	statuses    = " open pending snoozed resolved closed "
	priorities  = " low medium high urgent "
	stopReasons = " explicit expired message left "
	activities  = " appointment_scheduled product_purchased form_submitted task_completed "
	causes      = " manual gone failing "
	reasons     = " solved customer_message "
	channels    = " api app chat email facebook instagram line messenger mobile phone slack sms telegram twitter voice web whatsapp widget "
	fileTypes   = " audio contact embed fallback file ig_reel image location share story_mention video "
	extensions  = " aac avi bmp csv doc docx gif heic html ics jpeg jpg json m4a mkv mov mp3 mp4 odt ogg pdf png ppt pptx svg txt wav webm webp xls xlsx xml zip "
	// messageTypes are what a message may be beside a file.
	messageTypes = " text article cards form incoming_email input_csat input_email input_select input_text input_textarea integrations sticker voice_call "
	mediaTypes   = " application/json application/msword application/octet-stream application/pdf application/xml application/zip" +
		" application/vnd.openxmlformats-officedocument.spreadsheetml.sheet application/vnd.openxmlformats-officedocument.wordprocessingml.document" +
		" audio/aac audio/mp4 audio/mpeg audio/ogg audio/wav audio/webm image/bmp image/gif image/heic image/jpeg image/png image/svg+xml image/webp" +
		" text/calendar text/csv text/html text/plain video/avi video/mp4 video/mpeg video/ogg video/quicktime video/webm audio image video "
)

func among(value, list string) bool {
	return !strings.Contains(value, " ") && strings.Contains(list, " "+value+" ")
}

// known returns a value that may stay, or else a text.
func (m *Maker) known(value, list string) string {
	if value == "" || among(value, list) {
		return value
	}
	return m.text(value)
}

func (m *Maker) role(r domain.Role) domain.Role { return domain.Role(m.known(string(r), roles)) }

func (m *Maker) status(s conversation.Status) conversation.Status {
	return conversation.Status(m.known(string(s), statuses))
}

func (m *Maker) channel(s string) string { return m.known(s, channels) }

func (m *Maker) inboxID(s string) string {
	if s == account().ID {
		return s // the one that every conversation has which names none
	}
	return m.id(s)
}

// Kinds of files and of content that are not known become the most general one.
func messageType(s string) string {
	if s == "" || among(s, messageTypes) || among(s, mediaTypes) {
		return s
	}
	return conversation.DefaultContentType
}

func mediaType(s string) string {
	bare, _, err := mime.ParseMediaType(s)
	switch {
	case s == "":
		return ""
	case err == nil && among(bare, mediaTypes):
		return bare
	default:
		return "application/octet-stream"
	}
}

func fileType(s string) string {
	if s == "" || among(s, fileTypes) {
		return s
	}
	return "file"
}

func extension(s string) string {
	if bare := strings.ToLower(strings.TrimPrefix(s, ".")); s == "" || among(bare, extensions) {
		return s
	}
	return "bin"
}

// suffix returns the end of a path that says what a file is, if it is known.
func suffix(file string) string {
	ext := path.Ext(file)
	if ext == "" || ext == "." || extension(ext) != ext {
		return ""
	}
	return ext
}

func (m *Maker) fileName(s string) string {
	ext := suffix(s)
	return m.text(strings.TrimSuffix(s, ext)) + ext
}

func (m *Maker) metadata(r *eventstore.Recorded) []byte {
	meta := r.DecodeMetadata()
	if kind, id, ok := strings.Cut(meta.Actor, ":"); ok && kind == "key" {
		meta.Actor = "key:" + m.id(id)
	} else if kind != "system" { // a part of the program
		meta.Actor = m.id(meta.Actor)
	}
	meta.Command, meta.Correlation, meta.Causation = m.id(meta.Command), m.id(meta.Correlation), m.id(meta.Causation)
	if meta.Trace != "" {
		meta.Trace = m.trace(meta.Trace)
	}
	return mustEncode(meta)
}

// trace returns a W3C traceparent.
func (m *Maker) trace(s string) string {
	const digits = "0123456789abcdef"
	r, b := m.chance("trace", s), []byte("00-00000000000000000000000000000000-0000000000000000-01")
	for i := 3; i < len(b)-3; i++ {
		if b[i] == '0' {
			b[i] = digits[r.IntN(16)]
		}
	}
	return string(b)
}

func (m *Maker) stream(s string) string {
	kind, id := eventstore.SplitStream(s)
	if kind == "" {
		return m.id(s)
	}
	return eventstore.StreamName(kind, m.id(id))
}

// ID returns the pseudonym of an id.
func (m *Maker) ID(s string) string { return m.id(s) }

// uniqueID is how many letters and digits make an id sure to be another one than
// the others of a file.
const uniqueID = 8

// id returns the pseudonym of an id, in its shape: letters for letters and
// digits for digits. A short one is made longer, or two might become one.
func (m *Maker) id(s string) string {
	if to, ok := m.ids[s]; ok || s == "" {
		return to
	}
	if id, err := uuid.Parse(s); err == nil && len(s) == len(uuid.Nil.String()) {
		return m.uuid(id).String()
	}
	out, n := m.shaped("id", s), 0
	for _, c := range s {
		if unicode.IsLetter(c) || unicode.IsDigit(c) {
			n++
		}
	}
	if n < uniqueID && utf8.RuneCountInString(out)+1+uniqueID <= domain.MaxIDLength {
		out += "-" + m.token("id", s, uniqueID)
	}
	return out
}

// uuid returns a UUID of the same version; a UUIDv7 bears its time.
func (m *Maker) uuid(id uuid.UUID) uuid.UUID {
	r := m.chance("uuid", id.String())
	var out uuid.UUID
	binary.BigEndian.PutUint64(out[:8], r.Uint64())
	binary.BigEndian.PutUint64(out[8:], r.Uint64())
	if id.Version() == 7 {
		var ms [8]byte
		copy(ms[2:], id[:6])
		at := time.UnixMilli(int64(binary.BigEndian.Uint64(ms[:]))).Add(m.shift).UnixMilli()
		binary.BigEndian.PutUint64(ms[:], uint64(max(0, at)))
		copy(out[:6], ms[2:])
	}
	out[6] = out[6]&0x0f | id[6]&0xf0
	out[8] = out[8]&0x3f | 0x80
	return out
}

const letters = "abcdefghijklmnopqrstuvwxyz"

// token returns n letters that belong to a value.
func (m *Maker) token(kind, value string, n int) string {
	r, b := m.chance(kind+" token", value), make([]byte, n)
	for i := range b {
		b[i] = letters[r.IntN(len(letters))]
	}
	return string(b)
}

// shaped returns a value with other letters and digits.
func (m *Maker) shaped(kind, s string) string {
	r := m.chance(kind, s)
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return rune(letters[r.IntN(len(letters))])
		case c >= 'A' && c <= 'Z':
			return unicode.ToUpper(rune(letters[r.IntN(len(letters))]))
		default:
			return other(r, c)
		}
	}, s)
}

// other returns another character of the kind of c: a digit for a digit, a
// letter of its script for a letter; what is neither stays.
func other(r *rand.Rand, c rune) rune {
	switch {
	case unicode.IsNumber(c):
		return '0' + rune(r.IntN(10))
	case !unicode.IsLetter(c):
		return c
	}
	for i := range scripts() {
		if s := &scripts()[i]; unicode.Is(s.table, c) {
			out := s.letters[r.IntN(len(s.letters))]
			if unicode.IsUpper(c) {
				out = unicode.ToUpper(out)
			}
			return out
		}
	}
	return 'ø'
}

// A script is letters that stand for any of theirs.
type script struct {
	table   *unicode.RangeTable
	letters []rune
}

var allScripts = []script{ //nolint:gochecknoglobals // a table
	{unicode.Latin, []rune("äöüéèñçåøžłšôêâî")},
	{unicode.Cyrillic, []rune("абвгдежзиклмнопрстуфхцчшэюя")},
	{unicode.Greek, []rune("αβγδεζηθικλμνξοπρστυφχψω")},
	{unicode.Arabic, []rune("ابتثجحخدذرزسشصضطظعغفقكلمنهوي")},
	{unicode.Hebrew, []rune("אבגדהוזחטיכלמנסעפצקרשת")},
	{unicode.Han, []rune("天地人大小中日月山水火木金土上下左右")},
	{unicode.Hiragana, []rune("あいうえおかきくけこさしすせそたちつてと")},
	{unicode.Katakana, []rune("アイウエオカキクケコサシスセソタチツテト")},
	{unicode.Hangul, []rune("가나다라마바사아자차카타파하")},
	{unicode.Thai, []rune("กขคงจชซดตถทนบปผพมยรลวสหอ")},
	{unicode.Devanagari, []rune("कखगघचछजझटठडढतथदधनपफबभमयरलवशसह")},
}

func scripts() []script { return allScripts }

// text returns words as long as those of s, in its scripts, with its digits
// replaced, and everything between them as it is.
func (m *Maker) text(s string) string {
	if s == "" {
		return ""
	}
	r := m.chance("text", s)
	var out strings.Builder
	out.Grow(len(s))
	rest := []rune(strings.ToValidUTF8(s, "\ufffd"))
	for len(rest) > 0 {
		n := 0
		for n < len(rest) && unicode.Is(unicode.Latin, rest[n]) {
			n++
		}
		if n == 0 {
			out.WriteRune(other(r, rest[0]))
			rest = rest[1:]
			continue
		}
		for i, c := range word(r, n) {
			if rest[i] >= utf8.RuneSelf {
				c = other(r, rest[i])
			} else if unicode.IsUpper(rest[i]) {
				c = unicode.ToUpper(c)
			}
			out.WriteRune(c)
		}
		rest = rest[n:]
	}
	return out.String()
}

// latin are the words of texts, in order of length. They mean nothing.
const latin = "a e o ab ad at ea et ex id in ut amo est hic non sed sit vel amet anim arcu dolo elit enim erat ipsa nisi nunc odio quae quam sint " +
	"aequo augue autem culpa dolor ipsum lacus lorem magna morbi neque purus risus velit aliqua cursus dictum fuscem labore mattis mollis nullam " +
	"tempor turpis viverr aliquam bibenda cillumo commodo egestas euismod feugiat integer laoreet maximus posuere pretium sagitti viverra " +
	"accumsan deserunt dictumst eleifend faucibus gravida pulvinar reprehen suscipit tristica volutpat consequat convallis dignissim efficitur " +
	"elementum fermentum imperdiet incidunt malesuada phasellus porttitor praesent venenatis vestibul cupidatata dissentiat hendreritum " +
	"incididunt vestibulum ullamcorper exercitation sollicitudin pellentesque"

var byLength = func() map[int][]string { //nolint:gochecknoglobals // a table
	out := make(map[int][]string)
	for w := range strings.FieldsSeq(latin) {
		out[len(w)] = append(out[len(w)], w)
	}
	return out
}()

// longestWord is the length of the longest of the words.
const longestWord = 12

// word returns a word of n letters, or what is one for anybody who counts.
func word(r *rand.Rand, n int) string {
	if n > longestWord {
		return word(r, longestWord) + word(r, n-longestWord)
	}
	list := byLength[n]
	return list[r.IntN(len(list))]
}

// label is text that stands alone: two labels stay two.
func (m *Maker) label(s string) string {
	if s == "" {
		return ""
	}
	return m.spoken("label", strings.ToLower(s), 3)
}

// title is what a thing is called.
func (m *Maker) title(s string) string {
	if s == "" || s == account().Name {
		return s
	}
	return upperFirst(m.spoken("title", s, 3))
}

const (
	consonants = "bdfgklmnprstvz"
	vowels     = "aeiou"
)

// spoken returns a name of that many syllables that belongs to a value.
func (m *Maker) spoken(kind, value string, syllables int) string {
	r, b := m.chance(kind, value), make([]byte, 0, 2*syllables)
	for range syllables {
		b = append(b, consonants[r.IntN(len(consonants))], vowels[r.IntN(len(vowels))])
	}
	return string(b)
}

// nameSyllables makes 24 million names.
const nameSyllables = 4

// name replaces each part of a name by itself, so that a name goes with its
// parts. A part in another script stays as long as it is.
func (m *Maker) name(s string) string {
	var out strings.Builder
	runes := []rune(strings.ToValidUTF8(s, "\ufffd"))
	for i := 0; i < len(runes); {
		n := i
		for n < len(runes) && (unicode.IsLetter(runes[n]) || unicode.IsNumber(runes[n])) {
			n++
		}
		if n == i {
			out.WriteRune(runes[i])
			i++
			continue
		}
		part := string(runes[i:n])
		lower := strings.ToLower(part)
		if strings.ContainsFunc(part, func(c rune) bool { return unicode.Is(unicode.Latin, c) }) {
			part = m.spoken("name", lower, nameSyllables)
		} else {
			part = m.shaped("name", lower)
		}
		if unicode.IsUpper(runes[i]) {
			part = upperFirst(part)
		}
		out.WriteString(part)
		i = n
	}
	if name := []rune(out.String()); len(name) > domain.MaxNameLength {
		return string(name[:domain.MaxNameLength])
	}
	return out.String()
}

func upperFirst(s string) string {
	first, size := utf8.DecodeRuneInString(s)
	return string(unicode.ToUpper(first)) + s[size:]
}

// host returns a name that will never be anybody's (RFC 2606).
func (m *Maker) host(s string) string { return m.spoken("host", strings.ToLower(s), 3) + ".example" }

func (m *Maker) email(s string) string {
	at := strings.LastIndexByte(s, '@')
	if at < 0 {
		return m.id(s)
	}
	lower := strings.ToLower(s)
	return m.spoken("email", lower, nameSyllables) + "@" + m.host(lower[at+1:])
}

// phone returns a number with the country code 999, which is kept for none
// (ITU-T E.164, spare).
func (m *Maker) phone(s string) string {
	n := 0
	for _, c := range s {
		if unicode.IsDigit(c) {
			n++
		}
	}
	if n == 0 {
		return m.text(s)
	}
	r, b := m.chance("phone", s), []byte("+999")
	for range max(n-3, uniqueID) {
		b = append(b, '0'+byte(r.IntN(10)))
	}
	return string(b)
}

// url returns a URL of nobody, for a file of the same kind.
func (m *Maker) url(s string) string {
	if s == "" {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" {
		return "https://" + m.host(s) + "/" + m.token("url", s, uniqueID)
	}
	out := "https://" + m.host(u.Hostname())
	if u.Scheme == "http" {
		out = "http" + strings.TrimPrefix(out, "https")
	}
	if len(strings.TrimPrefix(s, u.Scheme+"://"+u.Host)) <= 1 {
		return out + u.Path
	}
	return out + "/" + m.token("url", s, uniqueID) + suffix(u.Path)
}

// pick returns one of a list of values that mean nothing but what they say.
func (m *Maker) pick(key, value, list string) string {
	all := strings.Split(list, ",")
	if slices.Contains(all, value) {
		return value // it is of nobody in particular
	}
	return all[m.chance(key, value).IntN(len(all))]
}
