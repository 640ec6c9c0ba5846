package talkus

import (
	"slices"
	"strconv"

	"verbatim/domain"
	"verbatim/webhooks"
)

// appendAgent appends an agent or a bot as the user of Slack that they would be
// to Talkus. Whose attributes carry that user, under talkus.agent or talkus.user,
// is that user: member by member, as far as it is given in the type that the
// format has there, and with what it has beside at the end.
func appendAgent(dst []byte, account string, p *domain.Person) []byte {
	theirs := p.Attributes.Object(format)
	user := theirs.Object("agent")
	if user == nil {
		user = theirs.Object("user")
	}
	name := personName(p)

	dst = append(dst, '{')
	o := object{dst, user}
	o.text("id", slackID(p.ID))
	o.text("team_id", "T"+derived(seedTeam, account, slackAlphabet, slackLength))
	o.text("name", or(slackName(name), "user"))
	o.flag("deleted", false)
	o.textOrNull("status")
	o.text("color", derivedHex(seedColor, p.ID, colorLength))
	o.text("real_name", name)
	o.text("tz", "Etc/UTC")
	o.text("tz_label", "Coordinated Universal Time")
	o.integer("tz_offset", 0)
	o.dst = append(o.dst, `,"profile":`...)
	o.dst = appendProfile(o.dst, o.object("profile"), p, name)
	o.flag("is_admin", false)
	o.flag("is_owner", false)
	o.flag("is_primary_owner", false)
	o.flag("is_restricted", false)
	o.flag("is_ultra_restricted", false)
	o.flag("is_bot", p.IsBot)
	o.text("presence", "active")
	return append(o.rest(), '}')
}

func appendProfile(dst []byte, profile domain.Attributes, p *domain.Person, name string) []byte {
	hash := ""
	if p.AvatarURL != "" {
		hash = derivedHex(seedAvatar, p.AvatarURL, avatarHashLength)
	}
	dst = append(dst, '{')
	o := object{dst, profile}
	o.list("fields")
	o.text("first_name", p.FirstName)
	o.text("last_name", p.LastName)
	o.text("title", "")
	o.text("phone", p.Phone)
	o.text("skype", "")
	o.text("avatar_hash", hash)
	for _, size := range imageSizes() {
		o.text(size, p.AvatarURL)
	}
	o.text("real_name", name)
	o.text("real_name_normalized", name)
	o.text("email", p.Email)
	return append(o.rest(), '}')
}

const (
	colorLength      = 6  // of red, green and blue
	avatarHashLength = 11 // as in the samples
)

// imageSizes are the pictures of a user of Slack. We have one, of whatever size.
func imageSizes() [8]string {
	return [...]string{"image_24", "image_32", "image_48", "image_72", "image_192", "image_512", "image_1024", "image_original"}
}

// slackID returns the id of a user: the person's own if it is one of Slack's
// already, or else one that belongs to it for ever.
func slackID(id string) string {
	if isSlackID(id) {
		return id
	}
	return "U" + derived(seedUser, id, slackAlphabet, slackLength)
}

// isSlackID says whether id is of a user of Slack: a U, or a W in an organisation
// of several teams, and eight to ten digits and capitals.
func isSlackID(id string) bool {
	const longest = 1 + 10
	if len(id) < 1+slackLength || len(id) > longest || id[0] != 'U' && id[0] != 'W' {
		return false
	}
	for i := range len(id) {
		if (id[i] < '0' || id[i] > '9') && (id[i] < 'A' || id[i] > 'Z') {
			return false
		}
	}
	return true
}

// An object writes a JSON object whose brace is open, member by member. A value
// that was given under the name of a member, and is of its type, stands in place
// of ours. The given ones are used up.
type object struct {
	dst   []byte
	given domain.Attributes
}

func (o *object) text(name, value string) {
	if v := o.member(name); len(v) > 0 && v[0] == '"' {
		o.dst = webhooks.AppendStringPlain(o.dst, asText(v))
		return
	}
	o.dst = webhooks.AppendStringPlain(o.dst, value)
}

func (o *object) textOrNull(name string) {
	if v := o.member(name); len(v) > 0 && v[0] == '"' {
		o.dst = webhooks.AppendStringPlain(o.dst, asText(v))
		return
	}
	o.dst = append(o.dst, "null"...)
}

func (o *object) flag(name string, value bool) {
	if v := o.member(name); string(v) == "true" || string(v) == "false" {
		value = v[0] == 't'
	}
	o.dst = strconv.AppendBool(o.dst, value)
}

func (o *object) integer(name string, value int64) {
	if n, err := strconv.ParseInt(string(o.member(name)), 10, 64); err == nil {
		value = n
	}
	o.dst = strconv.AppendInt(o.dst, value, 10)
}

func (o *object) list(name string) {
	if v := o.member(name); len(v) > 0 && v[0] == '[' {
		o.dst = webhooks.AppendRaw(o.dst, v)
		return
	}
	o.dst = append(o.dst, "[]"...)
}

// object returns the object that was given under a name, or nil.
func (o *object) object(name string) domain.Attributes {
	return domain.Attributes{{Key: name, Value: o.take(name)}}.Object(name)
}

// rest appends what was given and no member of ours, and returns what was written.
func (o *object) rest() []byte {
	for _, at := range o.given {
		if at.Value != nil {
			o.name(at.Key)
			o.dst = webhooks.AppendRaw(o.dst, at.Value)
		}
	}
	return o.dst
}

// member appends the name of a member and returns the value given for it, or nil.
func (o *object) member(name string) []byte {
	o.name(name)
	return o.take(name)
}

func (o *object) name(name string) {
	if o.dst[len(o.dst)-1] != '{' {
		o.dst = append(o.dst, ',')
	}
	o.dst = webhooks.AppendStringPlain(o.dst, name)
	o.dst = append(o.dst, ':')
}

// take returns the value given under a name, which is given no more.
func (o *object) take(name string) []byte {
	i := slices.IndexFunc(o.given, func(at domain.Attribute) bool { return at.Key == name })
	if i < 0 {
		return nil
	}
	v := o.given[i].Value
	o.given[i].Value = nil
	return v
}
