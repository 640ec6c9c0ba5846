package traffic

import (
	"fmt"
	"strings"

	"verbatim/domain"
	"verbatim/domain/conversation"
)

// A language is what people of one tongue are called and say.
type language struct {
	code        string
	first, last []string
	says        []string
	joint       string // between sentences
	leftwards   bool
}

var allLanguages = []*language{ //nolint:gochecknoglobals // a table
	{
		code: "en", joint: " ",
		first: []string{"Ada", "Grace", "Jon", "Olivia", "Noah", "Ruth"}, last: []string{"Byron", "Hopper", "Snow", "O'Neill", "Smith-Jones", "Ng"},
		says: []string{
			"Hello!", "I have a question about my last order.", "It has not arrived yet.", "Can you help me?", "Thank you very much 🙏",
			"The blue one is broken, and I'd like another.", "Let me look that up for you…", "Is there anything else?", "It says \"error 500\" & then <nothing>.",
			"My number is C:\\orders\\1042.", "Sure 👍🏽", "That's great, have a nice day! 😊",
		},
	},
	{
		code: "de", joint: " ",
		first: []string{"Mia", "Jürgen", "Anneliese", "Björn", "Zoë"}, last: []string{"Berger", "Müller", "Groß", "von der Heide", "Öztürk"},
		says: []string{
			"Guten Tag,", "ich habe eine Frage zu meiner Bestellung.", "Die Tasse ist leider beschädigt.", "Könnten Sie das bitte prüfen?",
			"Vielen Dank für die schnelle Rückmeldung!", "Das Paket liegt beim Nachbarn.", "Größe XL wäre besser.", "Mit freundlichen Grüßen",
		},
	},
	{
		code: "fr", joint: " ",
		first: []string{"Éloïse", "François", "Chloé"}, last: []string{"Lefèvre", "d'Arc", "Garçon"},
		says: []string{"Bonjour !", "Où est ma commande ?", "J'attends depuis une semaine…", "C'est réglé, merci.", "Un instant, s'il vous plaît.", "À bientôt 👋"},
	},
	{
		code: "es", joint: " ",
		first: []string{"María José", "Íñigo", "Lucía"}, last: []string{"Núñez", "García Márquez", "Peña"},
		says: []string{"¡Hola!", "¿Me puede ayudar?", "El código no funciona.", "Mañana lo reviso.", "Muchísimas gracias."},
	},
	{
		code: "pl", joint: " ",
		first: []string{"Łukasz", "Małgorzata", "Wiesław"}, last: []string{"Wąsik", "Żółć", "Nowak"},
		says: []string{"Dzień dobry,", "gdzie jest moje zamówienie?", "Przesyłka dotarła uszkodzona.", "Dziękuję za pomoc!", "Zażółć gęślą jaźń."},
	},
	{
		code: "ru", joint: " ",
		first: []string{"Анна", "Дмитрий", "Ольга"}, last: []string{"Каренина", "Менделеев", "Щукина"},
		says: []string{"Здравствуйте!", "Где мой заказ?", "Спасибо большое.", "Подождите, пожалуйста, минуту.", "Не работает 😕"},
	},
	{
		code: "ar", joint: " ", leftwards: true,
		first: []string{"ليلى", "عمر", "فاطمة"}, last: []string{"الحسن", "بن سينا", "حداد"},
		says: []string{"مرحبا،", "أين طلبي رقم ١٠٤٢؟", "شكرا جزيلا.", "لحظة من فضلك.", "لم تصل الشحنة بعد."},
	},
	{
		code: "he", joint: " ", leftwards: true,
		first: []string{"נועה", "דוד", "תמר"}, last: []string{"כהן", "לוי", "מזרחי"},
		says: []string{"שלום,", "מתי יגיע המשלוח?", "תודה רבה!", "אני בודק (ABC-12) עכשיו."},
	},
	{
		code:  "ja",
		first: []string{"花子", "太郎", "さくら"}, last: []string{"山田", "佐藤", "髙橋"},
		says: []string{"こんにちは。", "注文した商品がまだ届きません。", "確認いたします。", "ありがとうございます🙇‍♀️", "サイズを変更できますか？"},
	},
	{
		code:  "zh",
		first: []string{"伟", "芳", "秀英"}, last: []string{"王", "李", "欧阳"},
		says: []string{"您好！", "我的订单还没有到。", "请稍等。", "谢谢您的帮助。", "𠮷野家在哪里？"},
	},
	{
		code: "hi", joint: " ",
		first: []string{"आरव", "प्रिया"}, last: []string{"शर्मा", "पटेल"},
		says: []string{"नमस्ते,", "मेरा ऑर्डर कहाँ है?", "धन्यवाद!", "कृपया एक मिनट रुकें।"},
	},
}

// languages returns them as often as they are spoken here: the first two are
// those of the house.
func languages() []*language { return spoken }

var spoken = append(append(append([]*language{}, allLanguages...), allLanguages[0], allLanguages[0], allLanguages[0], allLanguages[0]), //nolint:gochecknoglobals // a table
	allLanguages[1], allLanguages[1], allLanguages[1])

// Shares of texts: most are a few sentences, one in longText is a page or more.
const longText = 250

// text is what somebody writes in a message.
func (g *generator) text(l *language) string {
	n := 1 + int(g.chance.ExpFloat64()*1.6)
	if g.in(longText) {
		n = 30 + g.chance.IntN(300)
	}
	var b strings.Builder
	for i := range n {
		switch {
		case i == 0:
		case g.in(12):
			b.WriteString(one(g, []string{"\n", "\n\n- ", "\t", " ", "\u2028"}))
		default:
			b.WriteString(l.joint)
		}
		b.WriteString(one(g, l.says))
	}
	if g.in(15) {
		b.WriteString(one(g, []string{" 😀", " 👩‍👩‍👧‍👦", " 🇵🇱", " ❤️", " ✅"}))
	}
	if l.leftwards && g.in(6) {
		return "\u200f" + b.String()
	}
	return b.String()
}

func (g *generator) sentence(l *language) string { return one(g, l.says) }

func (g *generator) fullName(l *language) string { return one(g, l.first) + " " + one(g, l.last) }

// somebody is a customer, of whom more or less is known.
func (g *generator) somebody(id string, l *language) domain.Person {
	p := domain.Person{ID: id}
	if g.in(8) {
		return p // nobody has asked them yet
	}
	p.Name = g.fullName(l)
	if !g.in(3) {
		p.Email = g.address(p.Name)
	}
	if g.in(2) {
		p.Phone = g.phone()
	}
	if g.in(3) {
		p.AvatarURL = fmt.Sprintf("https://faces.example/%d.jpg?size=96&round=1", g.chance.IntN(10_000))
	}
	if g.in(4) {
		p.Identifier = fmt.Sprintf("customer-%d", g.chance.IntN(1_000_000))
	}
	if g.in(4) {
		p.Attributes = domain.Attributes{
			attribute("plan", one(g, []string{"basic", "premium", "trial"})), attribute("tags", []string{"newsletter", l.code}),
		}
	}
	return p
}

// address is an e-mail of nobody (RFC 2606).
func (g *generator) address(name string) string {
	local := strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c
		case c >= 'A' && c <= 'Z':
			return c + 'a' - 'A'
		case c == ' ':
			return '.'
		default:
			return -1
		}
	}, name)
	return fmt.Sprintf("%s%d@%s.example", strings.Trim(local, "."), g.chance.IntN(10_000), one(g, []string{"mail", "post", "firm"}))
}

// phone is a number that is kept for fiction.
func (g *generator) phone() string {
	return fmt.Sprintf("+1%d55501%02d", 200+g.chance.IntN(700), g.chance.IntN(100))
}

// cast makes up who works here.
func (g *generator) cast() {
	for i := range 14 {
		l := allLanguages[i%3]
		p := domain.Person{ID: g.uuid().String(), Role: domain.Agent, Name: l.first[i%len(l.first)] + " " + l.last[(i+1)%len(l.last)]}
		p.Email = fmt.Sprintf("agent%d@shop.example", i)
		if i%2 == 0 {
			p.Number = int64(i + 1)
			p.AvatarURL = fmt.Sprintf("https://shop.example/faces/%d.png", i)
		}
		g.agents = append(g.agents, p)
	}
	g.bots = []domain.Person{
		{ID: "greeter", Role: domain.Bot, Name: "Greeter"},
		{ID: g.uuid().String(), Role: domain.Bot, Name: "Order Bot 🤖", AvatarURL: "https://shop.example/bot.svg"},
	}
}

// browser is what a widget says of where it is open.
func (g *generator) browser(l *language) domain.Attributes {
	if g.in(4) {
		return nil
	}
	page := fmt.Sprintf("https://shop.example/%s/orders/%d?from=mail&lang=%s", l.code, 1000+g.chance.IntN(9000), l.code)
	a := domain.Attributes{
		attribute("current_page", page), attribute("current_page_title", g.sentence(l)),
		attribute("browser_name", one(g, []string{"Firefox", "Chrome", "Safari"})), attribute("browser_version", fmt.Sprintf("%d.0", 100+g.chance.IntN(50))),
		attribute("operating_system", one(g, []string{"Linux", "Windows", "Mac OS X", "Android"})), attribute("language", l.code),
	}
	if g.in(4) {
		a = append(a, attribute("screen_size", "1920x1080"), attribute("referer", "https://search.example/?q=mugs"), attribute("ip", fmt.Sprintf("203.0.113.%d", g.chance.IntN(256))))
	}
	return a
}

func (g *generator) attachment() conversation.Attachment {
	n := g.chance.IntN(100_000)
	size := 1 + g.chance.Int64N(5<<20)
	switch g.chance.IntN(5) {
	case 0:
		return conversation.Attachment{
			FileType: "video", ContentType: "video/mp4", Name: fmt.Sprintf("clip-%d.mp4", n), Extension: "mp4",
			URL: fmt.Sprintf("https://files.example/%d/clip.mp4", n), Size: size, Width: 1280, Height: 720,
		}
	case 1:
		return conversation.Attachment{
			FileType: "audio", ContentType: "audio/mpeg", URL: fmt.Sprintf("https://files.example/%d/voice.mp3", n), Size: size,
		}
	case 2:
		return conversation.Attachment{
			FileType: "file", ContentType: "application/pdf", Name: "Rechnung Größe & Maß.pdf", Extension: "pdf",
			URL: fmt.Sprintf("https://files.example/%d/invoice.pdf?sig=a%%2Bb&x=1", n), Size: size,
		}
	default:
		return conversation.Attachment{
			FileType: "image", ContentType: "image/png", Name: fmt.Sprintf("photo %d.png", n), Extension: "png",
			URL: fmt.Sprintf("https://files.example/%d/photo.png", n), Size: size, Width: 640 + n%1000, Height: 480 + n%700,
		}
	}
}

func inboxes() []domain.Inbox { return allInboxes }

var allInboxes = []domain.Inbox{ //nolint:gochecknoglobals // a table
	{ID: "default", Number: 1, Name: "Default", Channel: "api"},
	{ID: "shop", Number: 2, Name: "Shop", Channel: "web"},
	{ID: "support", Number: 3, Name: "Support ✉️", Channel: "email"},
	{ID: "phones", Number: 4, Name: "Telefone", Channel: "whatsapp"},
}

func teams() []conversation.Team { return allTeams }

var allTeams = []conversation.Team{ //nolint:gochecknoglobals // a table
	{ID: "returns", Number: 4, Name: "Returns"}, {ID: "sales", Number: 5, Name: "Sales"}, {ID: "night", Name: "Nachtschicht"},
}

func labels() []string { return allLabels }

var allLabels = []string{"damaged", "mugs", "vip", "refund", "größe", "lost parcel", "重要"} //nolint:gochecknoglobals // a table

func products() []string { return allProducts }

var allProducts = []string{"Mug, blue", "Mug, \"large\"", "Teekanne", "湯呑み", "T-shirt <XL>"} //nolint:gochecknoglobals // a table

func notices() []string { return allNotices }

var allNotices = []string{ //nolint:gochecknoglobals // a table
	"waits for the carrier", "asked the warehouse", "the queue is long today", "moved to another team", "call back tomorrow",
}
