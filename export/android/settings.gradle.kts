// A generator on an Android phone: one activity that draws the image of a seed, on the GPU or else the CPU.
//
//     mkdir -p app/src/main/assets                    # in this folder
//     cp ../../runs/demo/export/{model.json,generator_fp16.tflite} app/src/main/assets/
//     gradle testDebugUnitTest installDebug           # or open this folder in Android Studio
//
// Written without an Android SDK or a phone at hand. The sources were compiled by Kotlin 2.4.20 together with LiteRT's own Kotlin
// sources, against Android's classes of level 3 and, of what is younger, stand-ins; the seed function passed its test on a JVM, the
// manifest was read by aapt; nothing else has run.

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
