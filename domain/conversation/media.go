package conversation

import (
	"cmp"
	"slices"
	"strings"

	"verbatim/domain"
)

// Kinds of media, which are played rather than looked at.
const (
	Audio = "audio"
	Video = "video"
)

// MediaOf returns Audio or Video if that is what a file type ("video") or a
// content type ("video/mp4") says, and else "".
func MediaOf(fileOrContentType string) string {
	kind, _, _ := strings.Cut(fileOrContentType, "/")
	switch {
	case strings.EqualFold(kind, Audio):
		return Audio
	case strings.EqualFold(kind, Video):
		return Video
	default:
		return ""
	}
}

// Media returns what there is to play in the file: Audio, Video, or "".
func (a *Attachment) Media() string { return cmp.Or(MediaOf(a.FileType), MediaOf(a.ContentType)) }

// Playable reports whether there is something to play in a message, and somebody
// who said it: what the system posts has no author.
func Playable(author domain.Role, contentType string, files []Attachment) bool {
	return author != domain.System &&
		(MediaOf(contentType) != "" || slices.ContainsFunc(files, func(a Attachment) bool { return a.Media() != "" }))
}
