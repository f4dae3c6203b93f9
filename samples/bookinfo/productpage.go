package bookinfo

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

//go:embed productpage.html
var productHTML string

//go:embed index.html
var indexHTML string

var (
	productTemplate = template.Must(template.New("productpage").Funcs(template.FuncMap{"stars": stars}).Parse(productHTML))
	indexTemplate   = template.Must(template.New("index").Parse(indexHTML))
)

// stars tells for each of the five places whether its star is full.
func stars(n int) (full []bool) {
	for i := range 5 {
		full = append(full, i < n)
	}
	return full
}

type product struct {
	ID          int           `json:"id"`
	Title       string        `json:"title"`
	Description template.HTML `json:"descriptionHtml"`
}

var products = []product{{
	ID: 0, Title: "The Comedy of Errors",
	Description: `<a href="https://en.wikipedia.org/wiki/The_Comedy_of_Errors">Wikipedia Summary</a>: <b>William Shakespeare's</b> shortest play: ` +
		`two pairs of twins, separated at birth, meet in one city, and everybody takes everybody for somebody else.`,
}}

// The page's patience with its back ends. Reviews are asked a second time after
// a failure: three seconds and three more are less than the ten that reviews v2
// grants ratings, the mistake that the fault-injection tutorial finds.
const (
	detailsTimeout = 3 * time.Second
	reviewsTimeout = 3 * time.Second
	reviewsTries   = 2
	ratingsTimeout = 3 * time.Second
)

// Productpage serves the web page and the JSON API before the other services.
// A signed cookie holds the session; its key is SESSION_KEY, else made at start.
func Productpage(env Env, log *slog.Logger) http.Handler {
	p := &productServer{
		client: newClient(), log: log, key: []byte(env("SESSION_KEY")),
		details: env.service("DETAILS", "details"), reviews: env.service("REVIEWS", "reviews"), ratings: env.service("RATINGS", "ratings"),
	}
	if len(p.key) == 0 {
		p.key = make([]byte, 32)
		rand.Read(p.key)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.index)
	mux.HandleFunc("GET /index.html", p.index)
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("Product page is healthy")) })
	mux.HandleFunc("POST /login", p.login)
	mux.HandleFunc("GET /logout", p.logout)
	mux.HandleFunc("GET /productpage", p.page)
	mux.HandleFunc("GET /static/{file}", static)
	mux.HandleFunc("GET /api/v1/products", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, 200, products) })
	mux.HandleFunc("GET /api/v1/products/{id}", p.api(func(r *http.Request, id string) answer { return p.askDetails(r, id) }))
	mux.HandleFunc("GET /api/v1/products/{id}/reviews", p.api(func(r *http.Request, id string) answer { return p.askReviews(r, id) }))
	mux.HandleFunc("GET /api/v1/products/{id}/ratings", p.api(func(r *http.Request, id string) answer { return p.askRatings(r, id) }))
	return mux
}

type productServer struct {
	client                    *http.Client
	details, reviews, ratings string
	log                       *slog.Logger
	key                       []byte
}

// answer is a back end's answer, or the sentence shown in its place.
type answer struct {
	code  int
	body  json.RawMessage
	Error string
}

func (p *productServer) ask(r *http.Request, url, failure string, timeout time.Duration, tries int) answer {
	h := forwardHeaders(r.Header)
	h.Del("End-User") // only this page says who its user is
	if user := p.user(r); user != "" {
		h.Set("End-User", user)
	}
	a := answer{code: http.StatusInternalServerError, Error: failure}
	for range tries {
		code, body, err := get(r.Context(), p.client, url, h, timeout)
		if err != nil {
			p.log.Warn("asking a back end", "url", url, "error", err)
			continue
		}
		if code == http.StatusOK && json.Valid(body) {
			return answer{code: code, body: body}
		}
		p.log.Warn("asking a back end", "url", url, "status", code)
		a.code = code
	}
	return a
}

func (p *productServer) askDetails(r *http.Request, id string) answer {
	return p.ask(r, p.details+"/details/"+id, "Sorry, product details are currently unavailable for this book.", detailsTimeout, 1)
}

func (p *productServer) askReviews(r *http.Request, id string) answer {
	return p.ask(r, p.reviews+"/reviews/"+id, "Sorry, product reviews are currently unavailable for this book.", reviewsTimeout, reviewsTries)
}

func (p *productServer) askRatings(r *http.Request, id string) answer {
	return p.ask(r, p.ratings+"/ratings/"+id, "Sorry, product ratings are currently unavailable for this book.", ratingsTimeout, 1)
}

func (p *productServer) api(ask func(*http.Request, string) answer) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		id := r.PathValue("id")
		if _, err := strconv.Atoi(id); err != nil {
			writeJSON(w, http.StatusBadRequest, failure("please provide numeric product id"))
			return
		}
		if a := ask(r, id); a.Error != "" {
			writeJSON(w, a.code, failure(a.Error))
		} else {
			writeJSON(w, a.code, a.body)
		}
	}
}

// pageData is what the template shows.
type pageData struct {
	Product      product
	User         string
	Details      *book
	DetailsError string
	Reviews      *reviewPage
	ReviewsError string
}

func (p *productServer) page(w http.ResponseWriter, r *http.Request) {
	data := pageData{Product: products[0], User: p.user(r)}
	d := p.askDetails(r, "0")
	if data.DetailsError = d.Error; d.Error == "" {
		data.Details = &book{}
		if err := json.Unmarshal(d.body, data.Details); err != nil {
			data.Details, data.DetailsError = nil, "Sorry, product details are currently unavailable for this book."
		}
	}
	v := p.askReviews(r, "0")
	if data.ReviewsError = v.Error; v.Error == "" {
		data.Reviews = &reviewPage{}
		if err := json.Unmarshal(v.body, data.Reviews); err != nil {
			data.Reviews, data.ReviewsError = nil, "Sorry, product reviews are currently unavailable for this book."
		}
	}
	p.render(w, productTemplate, data)
}

func (p *productServer) index(w http.ResponseWriter, _ *http.Request) {
	p.render(w, indexTemplate, nil)
}

func (p *productServer) render(w http.ResponseWriter, t *template.Template, data any) {
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		p.log.Error("rendering", "error", err)
		http.Error(w, "rendering the page failed", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(b.String()))
}

const sessionCookie = "session"

func (p *productServer) login(w http.ResponseWriter, r *http.Request) {
	user := r.PostFormValue("username")
	value := base64.RawURLEncoding.EncodeToString([]byte(user)) + "." + p.sign(user)
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Value: value, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode})
	back(w, r)
}

func (p *productServer) logout(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, &http.Cookie{Name: sessionCookie, Path: "/", MaxAge: -1})
	back(w, r)
}

// back sends the browser to the page it came from, by path only: a session
// change must not lead to another host.
func back(w http.ResponseWriter, r *http.Request) {
	to := "/productpage"
	if u, err := url.Parse(r.Referer()); err == nil && strings.HasPrefix(u.Path, "/") && !strings.HasPrefix(u.Path, "//") {
		to = u.EscapedPath()
	}
	http.Redirect(w, r, to, http.StatusFound)
}

func (p *productServer) sign(user string) string {
	m := hmac.New(sha256.New, p.key)
	m.Write([]byte(user))
	return base64.RawURLEncoding.EncodeToString(m.Sum(nil))
}

// user is the session's user, "" without a valid session.
func (p *productServer) user(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	name, mac, _ := strings.Cut(c.Value, ".")
	user, err := base64.RawURLEncoding.DecodeString(name)
	if err != nil || !hmac.Equal([]byte(mac), []byte(p.sign(string(user)))) {
		return ""
	}
	return string(user)
}
