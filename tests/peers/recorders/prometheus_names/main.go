// Records how the Go libraries of the Go collector v0.159.0 name and escape things for Prometheus, one JSON object a
// line. pipeline/formats/tests/names.rs compares with it.
//
//	cd tests/peers/recorders/prometheus_names && go run . > ../../../../pipeline/formats/tests/names.jsonl
package main

import (
	"encoding/json"
	"os"

	"github.com/prometheus/common/model"
	"github.com/prometheus/otlptranslator"
)

// What a name becomes under each of the rules, in their order; null where it is refused.
type row struct {
	What      string    `json:"what"`
	Namespace string    `json:"namespace,omitempty"`
	Name      string    `json:"name"`
	Unit      string    `json:"unit,omitempty"`
	Type      string    `json:"type,omitempty"`
	Becomes   []*string `json:"becomes"`
}

var strategies = []otlptranslator.TranslationStrategyOption{
	otlptranslator.UnderscoreEscapingWithSuffixes,
	otlptranslator.UnderscoreEscapingWithoutSuffixes,
	otlptranslator.NoUTF8EscapingWithSuffixes,
	otlptranslator.NoTranslation,
}

var types = []struct {
	name string
	kind otlptranslator.MetricType
}{
	{"total", otlptranslator.MetricTypeMonotonicCounter},
	{"ratio", otlptranslator.MetricTypeGauge},
	{"none", otlptranslator.MetricTypeHistogram},
}

var names = []string{
	"http.server.duration", "http.server.request.body.size", "system.cpu.time", "requests", "requests_total",
	"total", "total.requests", "total_total", "ratio", "use_ratio", "use.ratio.now", "a", "", "_", "__", "___a", "a__b",
	"a..b", "a_.b", ".a.", "..", "a:b", ":", "2xx", "2", "22.22", "_2", "seconds", "my.seconds", "seconds.my",
	"bytes_per_second", "speed_per_second", "per_second", "second", "größe", "ö", "日本語", "日本語.bytes", "a b", "a-b",
	"a/b", "a\nb", "a\"b", "\\", "{}", "target_info", "le", "A.B", "Mixed.Case_seconds", "total.ö",
	"memory.usage.bytes", "bytes", "x.percent", "percent_x", "disk.io", "name_milliseconds_total",
}

var units = []string{
	"", "1", "s", "ms", "us", "ns", "min", "h", "d", "By", "KiBy", "MiBy", "GiBy", "TiBy", "KBy", "MBy", "GBy", "TBy",
	"m", "V", "A", "J", "W", "g", "Cel", "Hz", "%", "{request}", "{request}/s", "By/s", "By/{request}", "m/s", "1/s",
	"By/", "/s", "/", "a/b/c", "By/m", "By/mo", "By/y", "By/w", "By/h", "By/d", "By/min", " s ", "By / s", "°C", "°F",
	"foo_", "foo_/bar_", "_foo", "foo__bar", "_", "__", "%/s", "s/_", "{a}{b}", "per_s", "second", "x y", "ö",
	"ö/ö", "total", "ratio",
}

var labels = []string{
	"http.method", "a", "_", "__", "___", "", "a.b", "a_b", "a..b", "a__b", "_a", "__a", "__a__", "__name__", "1a", "1",
	"1.a", "größe", "ö", "öö", "日本語", "a b", ".a", "..a", "a.", "a:b", ":", "-", "-1", "1-", "le", "quantile", "job",
	"A.B", "\n", "\"", "a\\b", "é1", "1é", "😀", "otel_scope_name", "otel.scope.name",
}

var escaped = []string{
	"", "a", "_", "a.b", "a_b.c", "a_b", "a..b", "0a", "0", "a0", "é", "aé", "éa", "日本語", "a:b", ":", "a b", "a-b_c.d",
	"__", "_._", "😀", "a\nb", "a\"b", "U__a", "U__a.b",
}

var schemes = []model.EscapingScheme{
	model.NoEscaping, model.UnderscoreEscaping, model.DotsEscaping, model.ValueEncodingEscaping,
}

func main() {
	out := json.NewEncoder(os.Stdout)
	out.SetEscapeHTML(false)
	say := func(r row) {
		if err := out.Encode(r); err != nil {
			panic(err)
		}
	}
	metric := func(namespace, name, unit string, kind int) {
		r := row{What: "metric", Namespace: namespace, Name: name, Unit: unit, Type: types[kind].name}
		for _, strategy := range strategies {
			namer := otlptranslator.NewMetricNamer(namespace, strategy)
			built, err := namer.Build(otlptranslator.Metric{Name: name, Unit: unit, Type: types[kind].kind})
			r.Becomes = append(r.Becomes, unless(err != nil, built))
		}
		say(r)
	}
	for kind := range types {
		for _, name := range names {
			for _, unit := range []string{"", "1", "By/s"} {
				metric("", name, unit, kind)
			}
		}
		for _, unit := range units {
			metric("", "some_metric.seconds", unit, kind)
		}
	}
	for _, namespace := range []string{"ns", "my.ns", "1ns", "_", "__a", "total", "ns_", "ö"} {
		for _, name := range []string{"http.server.duration", "2xx", "", "_", "total", "a__b"} {
			metric(namespace, name, "s", 0)
		}
	}
	for _, name := range labels {
		r := row{What: "label", Name: name}
		for _, strategy := range strategies {
			// As the exporter configures it: runs of underscores are kept unless a feature gate says otherwise.
			namer := otlptranslator.LabelNamer{
				UTF8Allowed: !strategy.ShouldEscape(), PreserveMultipleUnderscores: true,
			}
			built, err := namer.Build(name)
			r.Becomes = append(r.Becomes, unless(err != nil, built))
		}
		say(r)
	}
	for _, name := range escaped {
		r := row{What: "escape", Name: name}
		for _, scheme := range schemes {
			// EscapeMetricFamily leaves alone what every scraper can read.
			r.Becomes = append(r.Becomes, unless(false, name))
			if !model.LegacyValidation.IsValidMetricName(name) {
				*r.Becomes[len(r.Becomes)-1] = model.EscapeName(name, scheme)
			}
		}
		say(r)
	}
}

func unless(refused bool, text string) *string {
	if refused {
		return nil
	}
	return &text
}
