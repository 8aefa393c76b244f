//go:build chromium

// Package console looks at RabbitMQ's management console in a headless Chromium, at the moments that
// the READMEs speak of: the console must show what they say. With -screenshots it also takes their
// pictures. scripts/test.sh sets the build tag if Chromium is installed.
package console

import (
	"context"
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"

	"rabbitmq-tutorial/internal/harness"
)

var screenshots = flag.Bool("screenshots", false, "take the pictures of the READMEs, which takes a minute")

func TestMain(m *testing.M) {
	flag.Set("test.parallel", "6") // the moments mostly wait for the broker's figures
	os.Exit(m.Run())
}

// Each moment has a virtual host and a page of its own, in one browser.
func TestTheConsoleShowsWhatTheLessonsSay(t *testing.T) {
	browser := startChromium(t)
	for name, look := range map[string]func(*console){
		"a message is ready":            aMessageIsReady,
		"forgotten acknowledgements":    forgottenAcknowledgements,
		"a dead letter tells its death": aDeadLetterTellsItsDeath,
		"bindings":                      bindings,
		"a request without a server":    aRequestWithoutAServer,
		"rates":                         rates,
		"numbers without a stage":       numbersWithoutAStage,
		"a parked task":                 aParkedTask,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			look(open(t, browser))
		})
	}
}

// Lesson 1.
func aMessageIsReady(c *console) {
	harness.Run(c.t, c.vhost.URL, 0, "send")
	c.visit("#/exchanges")
	c.await(`page`, `\(AMQP default\)`)
	c.visit("#/queues")
	c.await(list, `Ready\s+Unacked\s+Total(?s:.*)\bhello\s+quorum\s+D (DR )?Args\s+\w+\s+1\s+0\s+1\b`)
	c.picture("cmd/send/console.png", "table.list", cell("hello", "Ready"), "↑ it waits for a consumer")
}

// Lesson 2.
func forgottenAcknowledgements(c *console) {
	worker := harness.StartConsumer(c.t, c.vhost.URL, "worker", "-forget-ack", "-prefetch=0", "-unit=1ms")
	for _, task := range []string{"First.", "Second.", "Third."} {
		harness.Run(c.t, c.vhost.URL, 0, "new_task", task)
		worker.Await("Done")
	}
	c.visit("#/queues")
	c.await(list, `\btask_queue\s+quorum\s+D (DR )?Args\s+\w+\s+0\s+3\s+3\b`)
	c.picture("cmd/worker/console.png", "table.list", cell("task_queue", "Unacked"), "↑ done, but never acknowledged")
}

// The experiment in cmd/worker/README.md.
func aDeadLetterTellsItsDeath(c *console) {
	harness.StartConsumer(c.t, c.vhost.URL, "receive").Stop()
	c.vhost.SetPolicy("poison", "^task_queue", map[string]any{
		"delivery-limit": 3, "dead-letter-exchange": "", "dead-letter-routing-key": "hello",
	})
	harness.Run(c.t, c.vhost.URL, 0, "new_task", "Poison.....")
	for range 4 {
		worker := harness.StartConsumer(c.t, c.vhost.URL, "worker")
		worker.Await("Received Poison")
		worker.Kill()
	}
	c.visit("#/queues")
	c.await(list, `\bhello\s+quorum\s+D (DR )?Args\s+\w+\s+1\s+0\s+1\b`)
	c.visit("#/queues/" + c.vhost.Name + "/hello")
	c.click("h2", "Get messages")
	c.click("input", "Get Message(s)")
	c.await(`page.querySelector('#msg-wrapper')`,
		`(?s)x-death:.*\bqueue:\s*task_queue\s+reason:\s*delivery_limit\s.*\bPoison\.{5}`)
	c.picture("cmd/worker/x-death.png", "#msg-wrapper table table table tr:has(table)",
		text("#msg-wrapper table table table table td", "delivery_limit"), "")
}

// Lesson 4.
func bindings(c *console) {
	harness.StartConsumer(c.t, c.vhost.URL, "receive_logs_direct", "warning", "error")
	harness.StartConsumer(c.t, c.vhost.URL, "receive_logs_direct", "info", "warning", "error")
	c.visit("#/exchanges/" + c.vhost.Name + "/direct_logs")
	c.click("h2", "Bindings")
	c.await(`page.querySelector('.bindings-wrapper')`,
		`^This exchange\s+⇓\s+To\s+Routing key\s+Arguments\s+(amq\.gen-\S+\s+(info|warning|error)\s*){5}$`)
	c.picture("cmd/receive_logs_direct/console.png", ".bindings-wrapper > p, .bindings-wrapper > p > span, .bindings-wrapper > table", "null", "")
}

// Lesson 6. Its client has a queue for the answers, exclusive like those of lesson 3.
func aRequestWithoutAServer(c *console) {
	client := harness.Start(c.t, c.vhost.URL, "rpc_client", "-timeout=10m", "30")
	client.Await("Requesting")
	c.visit("#/queues")
	c.await(list, `amq\.gen-\S+\s+classic\s+Excl\b(?s:.*)\brpc_queue\s+quorum\s+D (DR )?Args\s+\w+\s+1\s+0\s+1\b`)
	c.picture("cmd/rpc_client/console.png", "table.list", cell("rpc_queue", "Ready"), "↑ a request, and no server")
}

// Lesson 7.
func rates(c *console) {
	harness.Start(c.t, c.vhost.URL, "publisher_confirms", "-n=1000000")
	c.visit("#/channels")
	c.await(cell("(1)", "Mode"), `^C$`)
	c.click("table.list a", "(1)")
	const chart, legend = "#chart-msg-rates-ch", "#chart-msg-rates-ch ~ .legend:has(th)"
	c.await(`page.querySelector('`+legend+`')`, `^Publish\s+[1-9][\d,.]*/s\s+Publisher confirm\s+[1-9][\d,.]*/s`)
	if *screenshots { // for a picture, the lines must be longer: the figures change every five seconds
		c.await(`(page.seen ??= new Set()).add(page.querySelector('`+legend+`').innerText).size`, `^8$`)
	}
	c.picture("cmd/publisher_confirms/console.png", chart+", "+legend, "null", "")
}

// Lesson 8.
func numbersWithoutAStage(c *console) {
	harness.Run(c.t, c.vhost.URL, 0, "pipeline_submit", "10", "20", "30")
	c.visit("#/queues")
	c.await(list, `\bpipeline_numbers\s+quorum\s+D (DR )?Args\s+\w+\s+3\s+0\s+3\b`)
	c.picture("cmd/pipeline_submit/console.png", "table.list", cell("pipeline_numbers", "Ready"), "↑ they wait for a stage")
}

// Lesson 9.
func aParkedTask(c *console) {
	worker := harness.StartConsumer(c.t, c.vhost.URL, "retry_worker", "-retries=1", "-pause=1ms")
	harness.Run(c.t, c.vhost.URL, 0, "retry_task", "Book a hotel!!!")
	worker.Await("now in retry_parked")
	c.visit("#/queues/" + c.vhost.Name + "/retry_parked")
	c.click("h2", "Get messages")
	c.click("input", "Get Message(s)")
	c.await(`page.querySelector('#msg-wrapper')`, `(?s)attempts:\s*2\s+error:\s*exclamation mark 2 of 3\s.*\bBook a hotel!!!`)
	c.picture("cmd/retry_worker/console.png", "#msg-wrapper tr:nth-child(n+4) > th, #msg-wrapper table table, #msg-wrapper pre", "null", "")
}

// A console is a page of the management console, on which somebody has logged in.
type console struct {
	t     *testing.T
	tab   context.Context
	vhost *harness.Vhost
}

func startChromium(t *testing.T) context.Context {
	ctx, cancel := chromedp.NewExecAllocator(context.Background(), append(
		chromedp.DefaultExecAllocatorOptions[:], // headless, a user data folder of its own, …
		chromedp.NoSandbox, chromedp.DisableGPU, chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true))...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	run(&console{t: t, tab: ctx}, chromedp.Steps()) // the browser starts
	return ctx
}

// open logs in, and chooses a virtual host of the test's own.
func open(t *testing.T, browser context.Context) *console {
	t.Helper()
	vhost := harness.NewVhost(t)
	address := strings.Replace(harness.SharedBroker(t).ManagementURL(), "guest:guest@", "", 1)
	tab, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	t.Cleanup(cancel)
	c := &console{t, tab, vhost}
	run(c, chromedp.Steps(chromedp.EmulateViewport(1200, 2500, chromedp.EmulateScale(1.5)),
		chromedp.Navigate(address),
		chromedp.SendKeys(chromedp.CSS("input[name=username]"), "guest"),
		chromedp.SendKeys(chromedp.CSS("input[name=password]"), "guest\n")))
	c.await(`page.querySelector('#show-vhost')`, regexp.QuoteMeta(vhost.Name))
	run(c, chromedp.Evaluate[chromedp.Void](fmt.Sprintf(`$('#show-vhost').val(%q).trigger('change'); 0`, vhost.Name)))
	return c
}

func run[T any](c *console, action chromedp.Action[T]) T {
	c.t.Helper()
	result, err := chromedp.Run(c.tab, action)
	if err != nil {
		c.t.Fatalf("the console: %v", err)
	}
	return result
}

func (c *console) visit(hash string) {
	run(c, chromedp.Evaluate[chromedp.Void](fmt.Sprintf("location.hash = %q", hash)))
}

// The elements below are expressions in JavaScript, where page is the document's body: the console
// replaces its elements every five seconds, so that none is worth keeping.

const list = `page.querySelector('table.list')`

// cell is the cell of a table, in the row with this text.
func cell(row, column string) string {
	return fmt.Sprintf(`[...page.querySelectorAll('table.list tbody tr')].find(tr => tr.innerText.includes(%q))?.cells[
		[...page.querySelectorAll('table.list thead tr:last-child th')].findIndex(th => th.innerText.trim().startsWith(%q))]`, row, column)
}

// text is the last element with this text, or with this value.
func text(selector, text string) string {
	return fmt.Sprintf(`[...page.querySelectorAll(%q)].findLast(e => (e.value ?? e.innerText).includes(%q))`, selector, text)
}

// click waits for the element, and clicks on it.
func (c *console) click(selector, label string) {
	c.t.Helper()
	c.await(fmt.Sprintf(`(e => (e?.click(), !!e))(%s)`, text(selector, label)), "true")
}

// await waits, up to a minute, until the element's text, or any other value, matches the pattern. It looks
// five times a second, to leave the processor to the page.
func (c *console) await(element, pattern string) {
	c.t.Helper()
	want := regexp.MustCompile(pattern)
	got, err := "", error(nil)
	defer func() {
		if c.t.Failed() {
			c.t.Logf("it shows %q, %v", got, err)
		}
	}()
	harness.Eventually(c.t, time.Minute, fmt.Sprintf("%s shows %s", element, pattern), func() bool {
		got, err = chromedp.Run(c.tab, chromedp.Evaluate[string](fmt.Sprintf(`new Promise(then => setTimeout(then, 200)).then(() =>
			(page => (shown => String(shown?.innerText ?? shown ?? '').trim())(%s))(document.body))`, element), chromedp.EvalAwaitPromise))
		return err == nil && want.MatchString(got)
	})
}

// picture takes a picture of what the selector shows, with a frame and a label at the marked element.
func (c *console) picture(file, selector, marked, label string) {
	c.t.Helper()
	if !*screenshots {
		return
	}
	c.await(`$(':animated').length`, `^0$`)
	clip := run(c, chromedp.Evaluate[page.Viewport](fmt.Sprintf(mark, selector, marked, label)))
	png := run(c, func(ctx context.Context, tab *chromedp.Target) (page.CaptureScreenshotResult, error) {
		return cdp.Call(ctx, tab, page.CaptureScreenshot, page.CaptureScreenshotParams{Clip: &clip})
	})
	if err := os.WriteFile("../../../"+file, png.Data, 0o644); err != nil {
		c.t.Fatal(err)
	}
}

// mark hides all but the picture, and returns the rectangle around it. A learner's broker has one virtual
// host, and so the console has no column for it.
const mark = `(page => {
	const shown = [...page.querySelectorAll(%q)].filter(e => e.offsetWidth), marked = %s
	const table = page.querySelector('table.list:has([sort=vhost])')
	table?.querySelectorAll('tr').forEach((tr, i) => i ? tr.cells[0].remove() : tr.cells[0].colSpan--)
	page.style.visibility = 'hidden'
	shown.forEach(e => e.style.visibility = 'visible')
	if (marked) {
		marked.style = 'outline: 3px solid #d6336c; position: relative'
		marked.insertAdjacentHTML('beforeend', '<b style="position: absolute; top: 120%%; left: 0; white-space: nowrap; font-weight: bold; color: #d6336c">' + %q + '</b>')
		shown.push(marked.lastChild)
	}
	const side = (name, choose) => choose(...shown.map(e => e.getBoundingClientRect()[name]))
	const x = side('left', Math.min) - 8, y = side('top', Math.min) - 8
	return {x, y, width: side('right', Math.max) + 8 - x, height: side('bottom', Math.max) + 8 - y, scale: 1}
})(document.body)`
