package closer

import "crypto/sha256"

// randomName returns the name that Closer's widget would show for a visitor who
// has not given theirs, "Frosty Wolf": always the same for an id. The two lists
// and their order are part of every body that bears such a name; they can never
// change.
func randomName(id string) string {
	adjectives := [...]string{
		"Amber", "Ancient", "Autumn", "Bold", "Brave", "Bright", "Calm", "Clever",
		"Cosmic", "Crimson", "Curious", "Daring", "Dawning", "Eager", "Electric", "Emerald",
		"Fearless", "Flying", "Forest", "Frosty", "Gentle", "Gleaming", "Golden", "Happy",
		"Hidden", "Honest", "Humble", "Icy", "Jolly", "Kind", "Lively", "Lucky",
		"Lunar", "Merry", "Mighty", "Misty", "Noble", "Northern", "Patient", "Playful",
		"Polite", "Proud", "Quick", "Quiet", "Radiant", "Roaming", "Royal", "Sandy",
		"Scarlet", "Secret", "Shining", "Silent", "Silver", "Snowy", "Solar", "Southern",
		"Starry", "Stormy", "Sunny", "Swift", "Velvet", "Wandering", "Wild", "Winter",
	}
	animals := [...]string{
		"Albatross", "Antelope", "Badger", "Bear", "Beaver", "Bison", "Bobcat", "Buffalo",
		"Caribou", "Condor", "Cougar", "Coyote", "Crane", "Deer", "Dolphin", "Dove",
		"Eagle", "Elk", "Falcon", "Ferret", "Finch", "Fox", "Gazelle", "Gecko",
		"Hare", "Hawk", "Hedgehog", "Heron", "Ibex", "Jaguar", "Kestrel", "Koala",
		"Lark", "Leopard", "Lion", "Lynx", "Marten", "Moose", "Narwhal", "Ocelot",
		"Orca", "Otter", "Owl", "Panda", "Panther", "Pelican", "Penguin", "Puffin",
		"Puma", "Quail", "Rabbit", "Raven", "Robin", "Salmon", "Seal", "Sparrow",
		"Squirrel", "Stork", "Swallow", "Swan", "Tiger", "Turtle", "Whale", "Wolf",
	}
	sum := sha256.Sum256([]byte(id))
	return adjectives[sum[0]%uint8(len(adjectives))] + " " + animals[sum[1]%uint8(len(animals))]
}
