// A generator on an Android phone: one activity that draws the picture of a seed, on the GPU or else the CPU.
//
//     mkdir -p app/src/main/assets                    # in this folder
//     cp ../../runs/demo/export/{model.json,generator_fp16.tflite} app/src/main/assets/
//     gradle testDebugUnitTest installDebug           # or open this folder in Android Studio
//
// Written without an Android SDK or a phone at hand. The sources were compiled against stand-ins for the classes of Android and
// LiteRT, and the seed function passed its test on a JVM; nothing else has run.

pluginManagement {
    repositories {
        google()
        mavenCentral()
        gradlePluginPortal()
    }
}
dependencyResolutionManagement {
    repositories {
        google()
        mavenCentral()
    }
}
rootProject.name = "generator"
include(":app")
