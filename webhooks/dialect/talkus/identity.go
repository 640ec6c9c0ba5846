package talkus

import (
	"bytes"
	"encoding/json"
	"slices"
	"unicode/utf8"

	"verbatim/domain"
	"verbatim/webhooks"
)

// identityKeys are the keys that Talkus knows of, in their order: what the
// visitor said of themselves, absent if they did not, and from browserKeys on
// what their browser says, "" if it does not.
func identityKeys() [9]string {
	return [...]string{"name", "phone", "email", "picture", "userAgent", "title", "location", "ip", "languages"}
}

const browserKeys = 4

// appendIdentity appends what is known of the visitor. All values are strings.
// Behind the keys of the format stand those that a site gave of its own, each
// once: what is known of the visit goes before what is known of the customer.
func appendIdentity(dst []byte, c *webhooks.Conversation) []byte {
	p := &c.Customer
	keys := identityKeys()
	known := [len(keys)]string{p.Name, p.Phone, p.Email, p.AvatarURL}
	open := slices.Concat(webhooks.OpenAttributes(c.Attributes), webhooks.OpenAttributes(p.Attributes))
	open = slices.DeleteFunc(open, func(at domain.Attribute) bool {
		i := slices.Index(keys[:], identityKey(at.Key))
		if i >= 0 && known[i] == "" {
			known[i] = asText(at.Value)
		}
		return i >= 0 || len(at.Value) == 0 || string(at.Value) == "null"
	})

	dst = append(dst, '{')
	for i, key := range keys {
		if known[i] != "" || i >= browserKeys {
			dst = appendIdentityMember(dst, key, known[i])
		}
	}
	seen := make(map[string]bool, len(open))
	for i := range open {
		if key := identityKey(open[i].Key); !seen[key] {
			seen[key] = true
			dst = appendIdentityMember(dst, key, asText(open[i].Value))
		}
	}
	return append(dst, '}')
}

func appendIdentityMember(dst []byte, key, value string) []byte {
	if dst[len(dst)-1] != '{' {
		dst = append(dst, ',')
	}
	dst = webhooks.AppendStringPlain(dst, key)
	dst = append(dst, ':')
	return webhooks.AppendStringPlain(dst, value)
}

// identityKey returns the well-known attributes as Talkus calls them, or would in
// its way of spelling, and all others as they are: they are somebody's own.
func identityKey(key string) string {
	switch key {
	case "current_page":
		return "location"
	case "current_page_title":
		return "title"
	case "language":
		return "languages"
	case "user_agent":
		return "userAgent"
	case "screen_size":
		return "screenSize"
	case "browser_name":
		return "browserName"
	case "browser_version":
		return "browserVersion"
	case "operating_system":
		return "operatingSystem"
	case "platform_version":
		return "platformVersion"
	case "device_name":
		return "deviceName"
	case "initiated_at":
		return "initiatedAt"
	default:
		return key
	}
}

// asText returns a JSON value as a string: a string as it is, null as none, and
// anything else as its JSON text.
func asText(value json.RawMessage) string {
	switch {
	case len(value) == 0 || string(value) == "null":
		return ""
	case value[0] != '"':
		return string(value)
	}
	inner, ok := bytes.CutSuffix(value[1:], []byte{'"'})
	if ok && !bytes.ContainsRune(inner, '\\') && utf8.Valid(inner) {
		return string(inner) // nearly always
	}
	var s string
	if json.Unmarshal(value, &s) != nil {
		return string(value)
	}
	return s
}
