import java.io.*;
import java.nio.file.*;
import java.util.*;
import java.util.concurrent.*;

public class Worker {
    static String env(String key) { return System.getenv(key); }
    interface Tool { int call(Object input); }
    record Budget(int tokens) {
        Budget { if (tokens < 0) throw new IllegalArgumentException("budget " + tokens + " of " + env("ID") + " is negative"); }
    }

    static int parse(String text) { return Integer.parseInt(text); }
    static int depth(int n) { return depth(n + 1) + 1; }
    static List<String> lines(String dir) {
        try { return Files.readAllLines(Path.of(dir, "logs", env("NAME") + ".log")); }
        catch (IOException error) { throw new UncheckedIOException(error); }
    }
    static Object pool() throws Exception {
        ExecutorService pool = Executors.newFixedThreadPool(2);
        try { return pool.submit(() -> { throw new IllegalStateException("worker " + env("N") + " lost lease " + env("ID")); }).get(); }
        finally { pool.shutdown(); }
    }
    static void change() {
        List<String> list = new ArrayList<>(List.of("a", "b", "c"));
        for (String item : list) list.remove(item);
    }

    public static void main(String[] args) {
        int n = Integer.parseInt(env("N"));
        try {
            switch (args[0]) {
                case "cast" -> { Tool tool = input -> ((String) input).length(); tool.call(n); }
                case "parse" -> parse(env("ID"));
                case "depth" -> depth(n);
                case "lines" -> lines(env("DIR"));
                case "pool" -> pool();
                case "change" -> change();
                case "budget" -> new Budget(-n);
            }
        } catch (Throwable error) {
            StringWriter text = new StringWriter();
            error.printStackTrace(new PrintWriter(text));
            System.out.println(error.getClass().getName() + "\u0000" + error.getMessage() + "\u0000" + text);
        }
    }
}
