// Writes down every key that the components of the Go collector have, with its type and default, as JSON.
//
// The keys are those of the structs' mapstructure tags; the defaults are those of each factory's default
// configuration. `tests/peers/record-keys` builds this beside the generated `components.go`.
package main

import (
	"encoding"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"
	"time"

)

// Key is what one key, or a whole section, takes.
type Key struct {
	Type    string          `json:"type"`
	Default any             `json:"default,omitempty"`
	Off     bool            `json:"off,omitempty"` // a section that is off unless it is written
	From    string          `json:"from,omitempty"` // the shared struct that it belongs to, where it is one
	Keys    map[string]*Key `json:"keys,omitempty"`
	Items   *Key            `json:"items,omitempty"`
	Values  *Key            `json:"values,omitempty"`
	Open    bool            `json:"open,omitempty"` // takes further keys
	Custom  bool            `json:"custom,omitempty"` // reads its section with code of its own
}

var durationType = reflect.TypeOf(time.Duration(0))
var textType = reflect.TypeOf((*encoding.TextMarshaler)(nil)).Elem()

func typeName(t reflect.Type) string {
	if i := strings.Index(t.String(), "["); i > 0 && t.Kind() == reflect.Struct {
		return t.String()[:i]
	}
	return t.String()
}

// describe walks a value; `open` holds the structs around it, so that recursive types end.
func describe(v reflect.Value, around []reflect.Type) *Key {
	t := v.Type()
	if t == durationType {
		return &Key{Type: "duration", Default: time.Duration(v.Int()).String()}
	}
	if strings.HasPrefix(t.Name(), "Optional[") && strings.HasSuffix(t.PkgPath(), "configoptional") {
		return optional(v, around)
	}
	if reflect.PointerTo(t).Implements(textType) || t.Implements(textType) {
		return text(v)
	}
	switch t.Kind() {
	case reflect.Pointer:
		if v.IsNil() {
			key := describe(reflect.New(t.Elem()).Elem(), around)
			key.Default, key.Off = nil, true
			return key
		}
		return describe(v.Elem(), around)
	case reflect.Interface:
		if v.IsNil() {
			return &Key{Type: "any"}
		}
		return describe(v.Elem(), around)
	case reflect.Struct:
		return section(v, around)
	case reflect.Map:
		key := &Key{Type: "map"}
		if v.Len() > 0 {
			key.Default = plain(v)
		} else {
			key.Default = map[string]any{}
		}
		key.Values = inner(t.Elem(), around)
		return key
	case reflect.Slice, reflect.Array:
		key := &Key{Type: "list", Default: []any{}}
		if v.Len() > 0 {
			key.Default = plain(v)
		}
		if t.Elem().Kind() == reflect.Uint8 {
			return &Key{Type: "bytes"}
		}
		key.Items = inner(t.Elem(), around)
		return key
	case reflect.String:
		return &Key{Type: "string", Default: v.String()}
	case reflect.Bool:
		return &Key{Type: "bool", Default: v.Bool()}
	case reflect.Float32, reflect.Float64:
		return &Key{Type: "float", Default: v.Float()}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return &Key{Type: "int", Default: v.Int()}
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return &Key{Type: "int", Default: v.Uint()}
	default:
		return &Key{Type: t.String()}
	}
}

func inner(t reflect.Type, around []reflect.Type) *Key {
	key := describe(reflect.New(t).Elem(), around)
	if key.Keys == nil && key.Items == nil && key.Values == nil {
		key.Default = nil
	}
	return key
}

func text(v reflect.Value) *Key {
	key := &Key{Type: "text " + typeName(v.Type())}
	if v.Type().Kind() == reflect.Pointer && v.IsNil() {
		return key
	}
	if typeName(v.Type()) == "configopaque.String" {
		key.Type, key.Default = "secret", v.String()
		if v.Kind() == reflect.String && v.Len() == 0 {
			key.Default = ""
		}
		return key
	}
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	if out, err := p.Interface().(encoding.TextMarshaler).MarshalText(); err == nil {
		key.Default = string(out)
	}
	return key
}

func optional(v reflect.Value, around []reflect.Type) *Key {
	p := reflect.New(v.Type())
	p.Elem().Set(v)
	on := p.MethodByName("HasValue").Call(nil)[0].Bool()
	value := p.MethodByName("GetOrInsertDefault").Call(nil)[0]
	key := describe(value.Elem(), around)
	if !on {
		key.Off = true
	}
	if key.Keys != nil {
		key.Keys["enabled"] = &Key{Type: "bool", Default: true, From: "configoptional.Optional"}
	} else if !on {
		key.Default = nil
	}
	return key
}

// isShared tells the structs that several components have in common.
func isShared(name string) bool {
	return strings.HasPrefix(name, "config") || strings.HasPrefix(name, "exporterhelper.")
}

// section lists the keys of a struct, those of squashed ones included.
func section(v reflect.Value, around []reflect.Type) *Key {
	key := &Key{Type: typeName(v.Type()), Keys: map[string]*Key{}}
	for _, t := range around {
		if t == v.Type() {
			return &Key{Type: key.Type, Open: true}
		}
	}
	if _, ok := reflect.PointerTo(v.Type()).MethodByName("Unmarshal"); ok {
		key.Custom = true
	}
	fields(v, append(around, v.Type()), key, "")
	return key
}

func fields(v reflect.Value, around []reflect.Type, into *Key, from string) {
	t := v.Type()
	for i := 0; i < t.NumField(); i++ {
		field := t.Field(i)
		if !field.IsExported() {
			continue
		}
		tag, tagged := field.Tag.Lookup("mapstructure")
		name, options, _ := strings.Cut(tag, ",")
		squash := strings.Contains(options, "squash")
		if squash {
			inner := v.Field(i)
			for inner.Kind() == reflect.Pointer {
				if inner.IsNil() {
					inner = reflect.New(inner.Type().Elem())
				}
				inner = inner.Elem()
			}
			if strings.HasPrefix(inner.Type().Name(), "Optional[") {
				p := reflect.New(inner.Type())
				p.Elem().Set(inner)
				inner = p.MethodByName("GetOrInsertDefault").Call(nil)[0].Elem()
			}
			if inner.Kind() == reflect.Struct {
				owner := from
				if !isShared(owner) {
					owner = typeName(inner.Type())
				}
				fields(inner, around, into, owner)
			}
			continue
		}
		if strings.Contains(options, "remain") {
			into.Open = true
			continue
		}
		if name == "-" {
			continue
		}
		if name == "" {
			if tagged || options != "" {
				name = field.Name
			} else {
				name = strings.ToLower(field.Name)
			}
		}
		if _, taken := into.Keys[name]; taken {
			continue
		}
		key := describe(v.Field(i), around)
		key.From = from
		into.Keys[name] = key
	}
}

// plain is a default that is neither a section nor a scalar.
func plain(v reflect.Value) any {
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return plain(v.Elem())
	case reflect.Slice, reflect.Array:
		out := []any{}
		for i := 0; i < v.Len(); i++ {
			out = append(out, plain(v.Index(i)))
		}
		return out
	case reflect.Map:
		out := map[string]any{}
		for _, k := range v.MapKeys() {
			out[fmt.Sprint(k.Interface())] = plain(v.MapIndex(k))
		}
		return out
	case reflect.Struct:
		out := map[string]any{}
		for i := 0; i < v.NumField(); i++ {
			name, options, _ := strings.Cut(v.Type().Field(i).Tag.Get("mapstructure"), ",")
			if name == "" || name == "-" {
				continue
			}
			if strings.Contains(options, "omitempty") && v.Field(i).IsZero() {
				continue
			}
			out[name] = plain(v.Field(i))
		}
		return out
	}
	key := describe(v, nil)
	return key.Default
}

func defaults(config any) *Key {
	return describe(reflect.ValueOf(config), nil)
}


func main() {
	factories, err := components()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	out := map[string]*Key{}
	// Old names are listed as well; only the present one is written down.
	for name, factory := range factories.Receivers {
		if name == factory.Type() {
			out["receivers/"+name.String()] = defaults(factory.CreateDefaultConfig())
		}
	}
	for name, factory := range factories.Processors {
		if name == factory.Type() {
			out["processors/"+name.String()] = defaults(factory.CreateDefaultConfig())
		}
	}
	for name, factory := range factories.Exporters {
		if name == factory.Type() {
			out["exporters/"+name.String()] = defaults(factory.CreateDefaultConfig())
		}
	}
	for name, factory := range factories.Connectors {
		if name == factory.Type() {
			out["connectors/"+name.String()] = defaults(factory.CreateDefaultConfig())
		}
	}
	for name, factory := range factories.Extensions {
		if name == factory.Type() {
			out["extensions/"+name.String()] = defaults(factory.CreateDefaultConfig())
		}
	}
	out["service/telemetry"] = defaults(factories.Telemetry.CreateDefaultConfig())
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(out); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
