import java.io.*;
import java.net.*;
import java.util.*;

public class Agent {
    static String env(String key) { return System.getenv(key); }
    static class Plan { List<String> steps; int size() { return steps.size(); } }

    static void open(String dir) {
        try {
            new FileInputStream(dir + "/state/" + env("NAME") + ".bin");
        } catch (IOException error) {
            throw new IllegalStateException("run " + env("ID") + " cannot be restored", error);
        }
    }

    static int step(int[] steps, int n) { return steps[n]; }

    static void dial(int port) throws IOException {
        try (Socket socket = new Socket("127.0.0.1", port)) { socket.getInputStream(); }
    }

    public static void main(String[] args) {
        int n = Integer.parseInt(env("N"));
        try {
            switch (args[0]) {
                case "npe" -> List.of(new Plan()).forEach(plan -> plan.size());
                case "restore" -> open(env("DIR"));
                case "bounds" -> step(new int[n % 7], n);
                case "dial" -> dial(Integer.parseInt(env("PORT")));
            }
        } catch (Throwable error) {
            StringWriter text = new StringWriter();
            error.printStackTrace(new PrintWriter(text));
            System.out.println(error.getClass().getName() + "\u0000" + error.getMessage() + "\u0000" + text);
        }
    }
}
