package clarityflow

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

// parameterised returns s as Rails' String#parameterize does, fit to stand in a
// URL: Latin letters without their accents and in lower case, "_", and a hyphen
// for each run of anything else.
func parameterised(s string) string {
	if isParameterised(s) {
		return s
	}
	var room [96]byte // enough for most, without an allocation
	return string(appendParameterised(room[:0], s))
}

// appendParameterised appends what parameterised returns to dst, which is empty.
func appendParameterised(dst []byte, s string) []byte {
	for _, r := range s {
		switch {
		case r == '_' || '0' <= r && r <= '9' || 'a' <= r && r <= 'z':
			dst = append(dst, byte(r))
		case 'A' <= r && r <= 'Z':
			dst = append(dst, byte(r)+'a'-'A')
		case 0x300 <= r && r <= 0x36f: // accents that follow their letter
		default:
			for _, c := range []byte(latin(r)) {
				if c != '-' || len(dst) > 0 && dst[len(dst)-1] != '-' {
					dst = append(dst, c)
				}
			}
		}
	}
	return bytes.TrimSuffix(dst, []byte("-"))
}

func isParameterised(s string) bool {
	for i := range len(s) {
		c := s[i]
		hyphen := c == '-' && i > 0 && i+1 < len(s) && s[i-1] != '-'
		if !hyphen && c != '_' && (c < '0' || c > '9') && (c < 'a' || c > 'z') {
			return false
		}
	}
	return true
}

// latin returns the letters for a character beyond ASCII, in lower case, and a
// hyphen for one that has none. They are those of the I18n library that Rails
// uses (lib/i18n/backend/transliterator.rb).
func latin(r rune) string {
	// Two bytes for each character from U+00C0 on.
	const first, letters = 0xc0, "" +
		"a a a a a a aec e e e e i i i i d n o o o o o x o u u u u y thss" +
		"a a a a a a aec e e e e i i i i d n o o o o o - o u u u u y thy " +
		"a a a a a a c c c c c c c c d d d d e e e e e e e e e e g g g g " +
		"g g g g h h h h i i i i i i i i i i ijijj j k k k l l l l l l l " +
		"l l l n n n n n n -nngngo o o o o o oeoer r r r r r s s s s s s " +
		"s s t t t t t t u u u u u u u u u u u u w w y y y z z z z z z - "
	switch i := 2 * (int(r) - first); {
	case i >= 0 && i < len(letters):
		return strings.TrimSuffix(letters[i:i+2], " ")
	case r == 'ẞ':
		return "ss"
	case r >= 'Ǫ' && r <= 'ǭ':
		return "o"
	default:
		return "-"
	}
}

// digits returns hexadecimal digits that belong to id for ever, as many as
// Clarityflow makes for a slug without a title.
func digits(id string) string {
	const length = 25
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:])[:length]
}

// standsInURL reports whether s is something and can stand in a host, a path
// and a query as it is: the unreserved characters of RFC 3986, and the colon
// before a port.
func standsInURL(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < '0' || c > '9') && (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !strings.ContainsRune("-_.~:", rune(c)) {
			return false
		}
	}
	return s != ""
}
